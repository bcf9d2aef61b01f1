"""The plainest proxy that aiohttp's own server and client make: what they cost, whoever stands on them.

It passes on method, path, body and content type, and looks at nothing: `python -m bench.plain_proxy UPSTREAM`, which
is `host:port`. The first line of output is JSON with the port.
"""

import argparse
import asyncio
import json

import uvloop
from aiohttp import ClientSession, DummyCookieJar, web


async def _serve(upstream: str, port: int) -> None:
    async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.Response:
            body = await request.read() if request.can_read_body else None
            kind = {"Content-Type": request.content_type} if body else None
            url = f"http://{upstream}{request.path_qs}"
            async with session.request(request.method, url, data=body, headers=kind) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), content_type=answer.content_type
                )

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve on loopback until a signal ends it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("upstream", help="host:port")
    parser.add_argument("--port", type=int, default=0, help="0 is any")
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.upstream, arguments.port))


if __name__ == "__main__":
    main()
