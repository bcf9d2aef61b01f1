-- A look-up with a header that differs each time, as a request id does. The request is put together from strings, for
-- wrk.format would take the time of several requests.
dofile("report.lua")

local head, number = nil, 0

function init(args)
  head = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nx-request-id: "
end

function request()
  number = number + 1
  return head .. number .. "\r\n\r\n"
end
