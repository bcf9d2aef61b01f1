-- What a run came to, as one line of JSON: the last line of the output. Latencies are in microseconds.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%.0f,"microseconds":%.0f,"bytes":%.0f,"p50":%.1f,"p99":%.1f,"p999":%.1f,',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
  io.write(string.format(
    '"errors":{"connect":%.0f,"read":%.0f,"write":%.0f,"status":%.0f,"timeout":%.0f}}\n',
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
