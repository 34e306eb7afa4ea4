-- Asks Adieu about a request: `http-request lua.adieu OPTIONS`, with the requirements in the syntax of the query of /verify.
--
-- HAProxy has no check by another server of its own. This needs version 2.5 or later, built with Lua. A rejection is returned to the client
-- unchanged. An accepted request goes on, with the headers that identify the client.

-- On a Unix socket: unix@/run/adieu/verify.sock
local ADIEU = '127.0.0.1:8080'
local IDENTITY = { 'x-adieu-subject', 'x-adieu-session', 'x-adieu-issuer', 'x-adieu-admin' }
-- What Adieu needs to know about a request, for tokens in headers, in cookies and of WebSockets.
local ASKED = { 'authorization', 'cookie', 'x-csrf-token', 'origin', 'sec-websocket-version', 'sec-websocket-protocol' }
local KEPT = { 'content-type', 'cache-control', 'www-authenticate', 'retry-after' }

local function reject(txn, status, headers, body)
  local reply = txn:reply({ status = status, body = body })
  for name, values in pairs(headers) do
    for _, value in pairs(values) do
      reply:add_header(name, value)
    end
  end
  txn:done(reply)
end

-- Returns the parts of the values that do not begin with a prefix.
local function without(values, parts, prefix)
  local kept = {}
  for _, value in pairs(values) do
    for part in value:gmatch(parts) do
      if part:sub(1, #prefix) ~= prefix then
        table.insert(kept, part)
      end
    end
  end
  return kept
end

core.register_action('adieu', { 'http-req' }, function(txn, wanted)
  local all, asked = txn.http:req_get_headers(), {}
  for _, name in ipairs(ASKED) do
    for _, value in pairs(all[name] or {}) do
      asked[name] = asked[name] or {}
      table.insert(asked[name], value)
    end
  end
  asked['x-forwarded-for'] = { txn.f:src() }
  asked['x-forwarded-method'] = { txn.f:method() }
  asked['x-forwarded-host'] = { (all['host'] or {})[0] }
  -- For tokens of WebSockets in the query (`websocket_token = "query"`), remove `--query ` here and below.
  --query asked['x-forwarded-uri'] = { txn.f:pathq() }
  local answer = core.httpclient():get({
    url = 'http://adieu/verify?' .. (wanted == 'valid' and '' or wanted),
    headers = asked,
    dst = ADIEU,
    timeout = 1000,
  })
  -- HAProxy makes up a response when there is none, but not with this header.
  if answer.status == 204 then
    for _, name in ipairs(IDENTITY) do
      txn.http:req_set_header(name, answer.headers[name][0])
    end
    -- The token of a WebSocket among its subprotocols (`websocket_token = "protocol"`) is not forwarded.
    if all['sec-websocket-protocol'] then
      local protocols = without(all['sec-websocket-protocol'], '[^,%s]+', 'access_token.')
      txn.http:req_del_header('sec-websocket-protocol')
      if #protocols > 0 then
        txn.http:req_set_header('sec-websocket-protocol', table.concat(protocols, ', '))
      end
    end
    --query txn.http:req_set_query(table.concat(without({ txn.f:query() or '' }, '[^&]+', 'access_token='), '&'))
  elseif answer.status >= 400 and (answer.headers['cache-control'] or {})[0] == 'no-store' then
    local headers = {}
    for _, name in ipairs(KEPT) do
      headers[name] = answer.headers[name]
    end
    reject(txn, answer.status, headers, answer.body)
  else
    reject(txn, 503, {
      ['content-type'] = { 'application/json' },
      ['cache-control'] = { 'no-store' },
      ['retry-after'] = { '1' },
    }, '{"code":503,"message":"Whether the token has been revoked is not known just now. Try again.","status":"Service Unavailable"}')
  end
end, 1)
