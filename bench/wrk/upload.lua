-- A body of n bytes that nothing caches; the argument is n.
dofile("report.lua")

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/octet-stream"
  wrk.body = string.rep("x", tonumber(args[1]))
end
