-- One bulk call for the users u0 to u(n-1), over and over; the argument is n.
dofile("report.lua")

function init(args)
  local ids = {}
  for number = 1, tonumber(args[1]) do
    ids[number] = '"u' .. (number - 1) .. '"'
  end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = '{"userIds":[' .. table.concat(ids, ",") .. "]}"
end
