// Runs the HTTP caching conformance suite that package.json pins, for suite.py, which copies this file beside it.
//
// The first line of output is {"origin": URL}, the suite's own origin server. A line of input, the URL of a cache
// before it, starts the run. The last line of output is {"results": […]}, each with its result as the client made it:
// true, or [kind, message]. The process ends with the run, or with its input.
import http from 'node:http';
import process from 'node:process';
import { createInterface } from 'node:readline';
import fetch from 'node-fetch';
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs';
import handleConfig from 'http-cache-tests/server/handle-config.mjs';
import handleState from 'http-cache-tests/server/handle-state.mjs';
import handleTest from 'http-cache-tests/server/handle-test.mjs';
import suites from 'http-cache-tests/tests/index.mjs';

const PATIENCE = 20_000; // milliseconds for one exchange; nothing takes that long when all is well
const AT_ONCE = 100; // tests, as the suite's own command has it

const handlers = { config: handleConfig, state: handleState, test: handleTest };

function say(value, then) {
  process.stdout.write(`${JSON.stringify(value)}\n`, then);
}

function serve(request, response) {
  const [kind, ...segments] = request.url.split('?')[0].split('/').slice(1);
  const handler = handlers[kind];
  if (handler) {
    handler(segments, request, response);
  } else {
    response.writeHead(404).end();
  }
}

async function run(base) {
  await runTests(suites, (url, init) => fetch(url, { ...init, timeout: PATIENCE }), false, base, AT_ONCE);
  const found = getResults();
  const tests = suites.flatMap((suite) => suite.tests.map((test) => ({ ...test, suite: suite.name })));
  return tests
    .filter(({ id }) => id in found)
    .map(({ id, suite, name, kind = 'required', depends_on: needs = [] }) => {
      return { id, suite, name, kind, needs, result: found[id] };
    });
}

console.log = console.error; // the output is for results
const origin = http.createServer(serve);
origin.listen(0, '127.0.0.1', () => say({ origin: `http://127.0.0.1:${origin.address().port}` }));
const input = createInterface({ input: process.stdin });
input.once('line', async (base) => {
  say({ results: await run(base) }, () => process.exit());
});
input.once('close', () => process.exit(1));
