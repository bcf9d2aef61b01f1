-- Look-ups of u0 to u(n-1) in random order; the argument is n.
dofile("report.lua")

local tail, count, random = nil, nil, math.random

function init(args)
  count = tonumber(args[1])
  tail = " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\n\r\n"
  math.randomseed(7)
end

function request()
  return "GET /users/u" .. (random(count) - 1) .. tail
end
