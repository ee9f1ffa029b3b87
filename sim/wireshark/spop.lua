-- Wireshark dissector for SPOP 2.0, the Stream Processing Offload Protocol of HAProxy.
--
-- To install it, copy this file to the personal Lua plugins folder, which Wireshark lists under Help > About > Folders
-- (usually ~/.local/lib/wireshark/plugins). To use it once: tshark -X lua_script:spop.lua -r capture.pcapng
--
-- TCP port 12345 is decoded by default. For another port set the preference (-o spop.port:9000) or use "Decode as"
-- (-d tcp.port==9000,spop). If segments were captured out of order, also enable the TCP preference "Reassemble
-- out-of-order segments", because Wireshark does not pass them to any dissector otherwise.
--
-- Wireshark 4.4 and later load no Lua script as root, without a message: run tshark as another user.
--
-- The file runs on Lua 5.2 (Wireshark 4.0 to 4.2) and on Lua 5.4 (since 4.4). These versions have no bit library in
-- common, and before Lua 5.3 every number is a double, so bits are taken apart by arithmetic and 64-bit integers are
-- kept as two halves.
--
-- Each frame is dissected in three steps. It is parsed into Lua tables without any Wireshark object. Then its place in
-- the conversation is tracked, once, when Wireshark reads the packets in order; the result is kept in a record that
-- later passes look up. Finally the frame is added to the tree and to the Info column.

local spop = Proto("spop", "Stream Processing Offload Protocol")

local UNSET, HAPROXY_HELLO, HAPROXY_DISCONNECT, NOTIFY = 0, 1, 2, 3
local AGENT_HELLO, AGENT_DISCONNECT, ACK = 101, 102, 103
local SET_VAR, UNSET_VAR = 1, 2

local FRAME_TYPES = {
    [UNSET] = "UNSET",
    [HAPROXY_HELLO] = "HAPROXY-HELLO",
    [HAPROXY_DISCONNECT] = "HAPROXY-DISCONNECT",
    [NOTIFY] = "NOTIFY",
    [AGENT_HELLO] = "AGENT-HELLO",
    [AGENT_DISCONNECT] = "AGENT-DISCONNECT",
    [ACK] = "ACK",
}

local VALUE_TYPES = {
    [0] = "NULL",
    [1] = "BOOL",
    [2] = "INT32",
    [3] = "UINT32",
    [4] = "INT64",
    [5] = "UINT64",
    [6] = "IPV4",
    [7] = "IPV6",
    [8] = "STRING",
    [9] = "BINARY",
}

local ACTION_TYPES = { [SET_VAR] = "set-var", [UNSET_VAR] = "unset-var" }
local ACTION_ARGS = { [SET_VAR] = 3, [UNSET_VAR] = 2 }
local SCOPES = { [0] = "proc", [1] = "sess", [2] = "txn", [3] = "req", [4] = "res" }

local STATUS_CODES = {
    [0] = "normal",
    [1] = "I/O error",
    [2] = "a timeout occurred",
    [3] = "frame is too big",
    [4] = "invalid frame received",
    [5] = "version value not found",
    [6] = "max-frame-size value not found",
    [7] = "capabilities value not found",
    [8] = "unsupported version",
    [9] = "max-frame-size too big or too small",
    [10] = "fragmentation not supported",
    [11] = "invalid interlaced frames",
    [12] = "frame-id not found",
    [13] = "resource allocation error",
    [99] = "an unknown error occurred",
}

-- The size of the length field, and the shortest frame: type, flags and two ids of one byte each.
local LENGTH_SIZE, FRAME_MIN = 4, 7
-- The smallest max-frame-size that the protocol allows.
local MAX_FRAME_SIZE_MIN = 256
-- Wireshark reserves greater values of desegment_len.
local LIMIT_MAX = 128 * 1024 * 1024
-- The most bytes of one fragmented NOTIFY that are kept.
local REASSEMBLED_MAX = 16 * 1024 * 1024
-- Wireshark stops with an error at a million fields in a packet, so the decoded values of a frame and the fields of a
-- segment are limited.
local VALUES_MAX, FIELDS_MAX = 10000, 200000
-- The lengths at which the Info column, and one value in it, are shortened.
local INFO_MAX, INFO_VALUE_MAX = 200, 64

-- ---------------------------------------------------------------------------------------------------------------------
-- Fields, expert information and preferences
-- ---------------------------------------------------------------------------------------------------------------------

local fields = {
    length = ProtoField.uint32("spop.length", "Length", base.DEC, nil, nil, "Bytes after the length itself"),
    type = ProtoField.uint8("spop.type", "Type", base.DEC, FRAME_TYPES),
    flags = ProtoField.uint32("spop.flags", "Flags", base.HEX),
    flags_fin = ProtoField.bool("spop.flags.fin", "FIN", 32, nil, 0x1, "Last fragment"),
    flags_abort = ProtoField.bool("spop.flags.abort", "ABORT", 32, nil, 0x2, "The frame is cancelled"),
    flags_reserved = ProtoField.uint32("spop.flags.reserved", "Reserved", base.HEX, nil, 0xfffffffc),
    stream_id = ProtoField.uint64("spop.stream_id", "Stream ID"),
    frame_id = ProtoField.uint64("spop.frame_id", "Frame ID"),
    data = ProtoField.bytes("spop.data", "Undissected data"),

    kv = ProtoField.none("spop.kv", "Key and value"),
    kv_key = ProtoField.string("spop.kv.key", "Key"),
    supported_versions = ProtoField.string("spop.supported_versions", "Supported versions"),
    version = ProtoField.string("spop.version", "Version"),
    max_frame_size = ProtoField.uint32("spop.max_frame_size", "Max frame size"),
    capabilities = ProtoField.string("spop.capabilities", "Capabilities"),
    engine_id = ProtoField.string("spop.engine_id", "Engine ID"),
    healthcheck = ProtoField.bool("spop.healthcheck", "Health check"),
    status_code = ProtoField.uint32("spop.status_code", "Status code", base.DEC, STATUS_CODES),
    status_message = ProtoField.string("spop.status_message", "Status message"),

    message = ProtoField.none("spop.message", "Message"),
    message_name = ProtoField.string("spop.message.name", "Name"),
    message_args = ProtoField.uint8("spop.message.args", "Number of arguments"),
    arg = ProtoField.none("spop.arg", "Argument"),
    arg_name = ProtoField.string("spop.arg.name", "Name"),

    action = ProtoField.none("spop.action", "Action"),
    action_type = ProtoField.uint8("spop.action.type", "Action type", base.DEC, ACTION_TYPES),
    action_args = ProtoField.uint8("spop.action.args", "Number of arguments"),
    action_scope = ProtoField.uint8("spop.action.scope", "Scope", base.DEC, SCOPES),
    action_name = ProtoField.string("spop.action.name", "Variable"),

    value_type = ProtoField.uint8("spop.value.type", "Value type", base.DEC, VALUE_TYPES, 0x0f),
    value_flags = ProtoField.uint8("spop.value.flags", "Value flags", base.HEX, nil, 0xf0),
    value_null = ProtoField.none("spop.value.null", "Null"),
    value_bool = ProtoField.bool("spop.value.bool", "Bool"),
    -- A varint holds up to 64 bits whatever type precedes it, and HAProxy reads all of them. So 32-bit values have
    -- 64-bit fields, which show a value outside the range of its type as it is.
    value_int32 = ProtoField.int64("spop.value.int32", "Int32"),
    value_uint32 = ProtoField.uint64("spop.value.uint32", "Uint32"),
    value_int64 = ProtoField.int64("spop.value.int64", "Int64"),
    value_uint64 = ProtoField.uint64("spop.value.uint64", "Uint64"),
    value_ipv4 = ProtoField.ipv4("spop.value.ipv4", "IPv4"),
    value_ipv6 = ProtoField.ipv6("spop.value.ipv6", "IPv6"),
    value_string = ProtoField.string("spop.value.string", "String"),
    value_binary = ProtoField.bytes("spop.value.binary", "Binary"),

    fragment_data = ProtoField.bytes("spop.fragment.data", "Fragment data"),
    fragment = ProtoField.framenum("spop.fragment", "Fragment in"),
    fragment_count = ProtoField.uint32("spop.fragment.count", "Fragments"),
    reassembled_in = ProtoField.framenum("spop.reassembled_in", "Reassembled in"),
    reassembled_length = ProtoField.uint32("spop.reassembled_length", "Reassembled bytes"),

    response_in = ProtoField.framenum("spop.response_in", "Response in", base.NONE, frametype.RESPONSE),
    response_to = ProtoField.framenum("spop.response_to", "Response to", base.NONE, frametype.REQUEST),
    time = ProtoField.relative_time("spop.time", "Time from NOTIFY to ACK"),
}

local function protocol_error(name, text)
    return ProtoExpert.new("spop.error." .. name, text, expert.group.PROTOCOL, expert.severity.ERROR)
end

local function sequence(name, text, severity)
    return ProtoExpert.new("spop." .. name, text, expert.group.SEQUENCE, severity)
end

local experts = {
    bad_length = protocol_error("length", "The length is not allowed"),
    above_negotiated = protocol_error("above_negotiated", "The frame is longer than the negotiated size"),
    unknown_type = protocol_error("type", "The frame type is unknown"),
    wrong_side = protocol_error("side", "The frame type is not sent by this side"),
    fin_clear = protocol_error("fin", "FIN is clear where fragments are not allowed"),
    ids_not_zero = protocol_error("ids", "The ids are not zero"),
    malformed = protocol_error("malformed", "The frame cannot be decoded"),
    reserved_type = protocol_error("value_type", "The value type is reserved"),
    bad_key = protocol_error("key", "A key or its value is not allowed"),
    missing_key = protocol_error("missing_key", "A required key is missing"),
    bad_version = protocol_error("version", "The version is not supported"),
    bad_max_frame_size = protocol_error("max_frame_size", "The max-frame-size is not allowed"),
    bad_action = protocol_error("action", "The action is not allowed"),
    bad_fragment = protocol_error("fragment", "A fragment is out of sequence"),
    after_disconnect = protocol_error("after_disconnect", "The agent sent bytes after AGENT-DISCONNECT"),
    unexpected_ack = sequence("unexpected_ack", "ACK without a NOTIFY", expert.severity.WARN),
    second_ack = sequence("second_ack", "Second ACK of a NOTIFY", expert.severity.WARN),
    not_reassembled = ProtoExpert.new("spop.not_reassembled", "The frame is not reassembled", expert.group.REASSEMBLE,
        expert.severity.NOTE),
    not_shown = ProtoExpert.new("spop.not_shown", "Not all fields are shown", expert.group.UNDECODED,
        expert.severity.NOTE),
}

spop.fields = fields
spop.experts = experts
spop.prefs.port = Pref.uint("TCP port", 12345, "Port of the agent. 0 leaves the choice to \"Decode as\".")
spop.prefs.max_frame = Pref.uint("Largest frame (bytes)", 1024 * 1024,
    "A greater length is reported as an error, and nothing is buffered for it. At most 134217728 (128 MiB).")

-- ---------------------------------------------------------------------------------------------------------------------
-- Reader: takes values from a string of bytes and remembers the first error
-- ---------------------------------------------------------------------------------------------------------------------

local Reader = {}
Reader.__index = Reader

-- Positions count from 1, as in all strings of Lua.
local function new_reader(bytes, at)
    return setmetatable({ bytes = bytes, at = at, values = 0 }, Reader)
end

function Reader:left()
    return #self.bytes - self.at + 1
end

-- Every method returns nil after it has called this one.
function Reader:fail(text, expert_name)
    self.failure = { text = text, expert = expert_name or "malformed" }
    return nil
end

function Reader:byte(what)
    if self:left() < 1 then
        return self:fail("The frame ends in or before the " .. what)
    end
    self.at = self.at + 1
    return self.bytes:byte(self.at - 1)
end

-- The factor of each byte of a varint, in the low half up to index 4 and in the high half after it.
local LOW_HALF_LAST, VARINT_MAX = 4, 10
local VARINT_SCALE = { 16, 2048, 262144, 33554432, 1, 128, 16384, 2097152, 268435456 }
local HALF = 4294967296

-- Returns a varint as two halves of 32 bits.
function Reader:varint(what)
    local start, low, high = self.at, self:byte(what), 0
    local index, byte = 0, low
    -- The first byte continues from 240 on, and each further byte from 128 on.
    while byte and byte >= (index == 0 and 240 or 128) do
        index = index + 1
        if index == VARINT_MAX then
            return self:fail("The varint of the " .. what .. " is longer than 10 bytes")
        end
        byte = self:byte(what)
        if byte and index <= LOW_HALF_LAST then
            low = low + byte * VARINT_SCALE[index]
        elseif byte then
            high = high + byte * VARINT_SCALE[index]
        end
    end
    if not byte then
        return nil
    end
    high = high + math.floor(low / HALF)
    if high >= HALF then
        return self:fail("The varint of the " .. what .. " exceeds 64 bits")
    end
    return { at = start, size = self.at - start, low = low % HALF, high = high }
end

function Reader:take(size, what)
    if size > self:left() then
        return self:fail("The " .. what .. " is longer than the rest of the frame")
    end
    self.at = self.at + size
    return true
end

-- Returns a string with its length in front.
function Reader:string(what)
    local length = self:varint(what)
    if not length then
        return nil
    end
    local at = self.at
    if not self:take(length.high > 0 and math.huge or length.low, what) then
        return nil
    end
    return { length = length, at = at, size = length.low, text = self.bytes:sub(at, self.at - 1) }
end

local function read_integer(reader, value)
    value.integer = reader:varint("integer")
    return value.integer
end

local function read_string(reader, value)
    value.string = reader:string("value")
    return value.string
end

-- Reads what follows the type byte of a value. Reserved types have no entry.
local READ_VALUE = {
    [0] = function() return true end,
    [1] = function(_, value)
        value.bool = value.flags == 1
        return true
    end,
    [2] = read_integer,
    [3] = read_integer,
    [4] = read_integer,
    [5] = read_integer,
    [6] = function(reader) return reader:take(4, "IPv4 address") end,
    [7] = function(reader) return reader:take(16, "IPv6 address") end,
    [8] = read_string,
    [9] = read_string,
}

function Reader:value()
    local start, byte = self.at, self:byte("value type")
    if not byte then
        return nil
    end
    local value = { at = start, type = byte % 16, flags = math.floor(byte / 16) }
    local read = READ_VALUE[value.type]
    if not read then
        return self:fail("Value type " .. value.type .. " is reserved, so its size is unknown", "reserved_type")
    end
    self.values = self.values + 1
    if not read(self, value) then
        return nil
    end
    value.size = self.at - start
    return value
end

-- Returns true if another item follows. After an error, the undissected data begins at the item that failed.
function Reader:next_item()
    self.item_at = self.at
    if self.values >= VALUES_MAX and self:left() > 0 then
        return self:fail("The frame has more than " .. VALUES_MAX .. " values", "not_shown")
    end
    return self:left() > 0
end

-- ---------------------------------------------------------------------------------------------------------------------
-- Parsing of frames
-- ---------------------------------------------------------------------------------------------------------------------

local function parse_pairs(reader)
    local items = {}
    while reader:next_item() do
        local item = { at = reader.at, key = reader:string("key") }
        item.value = item.key and reader:value()
        if not item.value then
            break
        end
        item.size = reader.at - item.at
        items[#items + 1] = item
    end
    return items
end

local function parse_args(reader, message)
    while #message.args < message.count and not reader.failure do
        -- A frame may end before the last argument, so only the limit on values matters here.
        reader:next_item()
        local arg = { at = reader.at, name = not reader.failure and reader:string("argument name") }
        arg.value = arg.name and reader:value()
        if arg.value then
            arg.size = reader.at - arg.at
            message.args[#message.args + 1] = arg
        end
    end
    message.size = (reader.failure and reader.item_at or reader.at) - message.at
end

local function parse_messages(reader)
    local messages = {}
    while not reader.failure and reader:next_item() do
        local message = { at = reader.at, args = {}, name = reader:string("message name") }
        message.count_at = reader.at
        message.count = message.name and reader:byte("number of arguments")
        if not message.count then
            break
        end
        -- Messages without arguments count too, because the limit protects against many of them.
        reader.values = reader.values + 1
        messages[#messages + 1] = message
        parse_args(reader, message)
    end
    return messages
end

-- Reads the arguments of an action. The layout of the rest of the list is unknown after an unexpected number of them.
local function parse_action_args(reader, action)
    local expected = ACTION_ARGS[action.type]
    if not expected then
        return reader:fail("Action type " .. action.type .. " is unknown", "bad_action")
    elseif action.count ~= expected then
        local text = "%s has %d arguments, expected %d"
        return reader:fail(text:format(ACTION_TYPES[action.type], action.count, expected), "bad_action")
    end
    action.scope_at = reader.at
    action.scope = reader:byte("scope")
    action.name = action.scope and reader:string("variable name")
    if action.type == SET_VAR then
        action.value = action.name and reader:value()
        return action.value
    end
    reader.values = reader.values + 1
    return action.name
end

local function parse_actions(reader)
    local actions = {}
    while reader:next_item() do
        local action = { at = reader.at, type = reader:byte("action type") }
        action.count = reader:byte("number of action arguments")
        if not action.count or not parse_action_args(reader, action) then
            break
        end
        action.size = reader.at - action.at
        actions[#actions + 1] = action
    end
    return actions
end

local function parse_payload(parse, bytes, at)
    local reader = new_reader(bytes, at)
    local payload = { items = parse(reader) }
    payload.failure, payload.values = reader.failure, reader.values
    -- Everything from the item that failed is undissected.
    payload.rest_at = reader.failure and reader.item_at or #bytes + 1
    return payload
end

local PARSE_PAYLOAD = {
    [HAPROXY_HELLO] = parse_pairs,
    [HAPROXY_DISCONNECT] = parse_pairs,
    [NOTIFY] = parse_messages,
    [AGENT_HELLO] = parse_pairs,
    [AGENT_DISCONNECT] = parse_pairs,
    [ACK] = parse_actions,
}

-- Parses a whole frame of allowed length.
local function parse_frame(bytes)
    local b1, b2, b3, b4 = bytes:byte(6, 9)
    local frame = { bytes = bytes, length = #bytes - LENGTH_SIZE, type = bytes:byte(5) }
    frame.flags = ((b1 * 256 + b2) * 256 + b3) * 256 + b4
    frame.fin, frame.abort = b4 % 2 == 1, math.floor(b4 / 2) % 2 == 1
    frame.is_fragment = frame.type == UNSET or (frame.type == NOTIFY and not frame.fin)
    local reader = new_reader(bytes, 10)
    frame.stream_id = reader:varint("stream-id")
    frame.frame_id = frame.stream_id and reader:varint("frame-id")
    frame.payload_at = reader.at
    if not frame.frame_id then
        frame.payload = { items = {}, failure = reader.failure, values = 0, rest_at = reader.at }
        return frame
    end
    local parse = PARSE_PAYLOAD[frame.type]
    if parse and not frame.is_fragment then
        frame.payload = parse_payload(parse, bytes, frame.payload_at)
    end
    frame.keys = {}
    if parse == parse_pairs then
        -- HAProxy uses the last value if a key occurs more than once.
        for _, item in ipairs(frame.payload.items) do
            frame.keys[item.key.text] = item.value
        end
    end
    return frame
end

-- Returns the integer of a value if it is one of at most 32 bits.
local function number_of(value)
    local integer = value and value.integer
    return integer and integer.high == 0 and integer.low or nil
end

local function text_of(value)
    return value and value.type == 8 and value.string.text or nil
end

-- Returns true if a list such as "pipelining, async" has the entry.
local function lists(list, entry)
    for part in (list or ""):gmatch("[^,]+") do
        if part:match("^%s*(.-)%s*$") == entry then
            return true
        end
    end
    return false
end

-- ---------------------------------------------------------------------------------------------------------------------
-- Checks that need only the frame itself
-- ---------------------------------------------------------------------------------------------------------------------

-- The owner is a frame, or the record that tracking keeps for it.
local function add_problem(owner, expert_name, text)
    owner.problems = owner.problems or {}
    table.insert(owner.problems, { expert = expert_name, text = text })
end

-- The keys that Wireshark shows as fields of their own.
local KEYS = {
    ["supported-versions"] = { field = fields.supported_versions, kind = "STRING" },
    ["version"] = { field = fields.version, kind = "STRING" },
    ["max-frame-size"] = { field = fields.max_frame_size, kind = "integer of at most 32 bits" },
    ["capabilities"] = { field = fields.capabilities, kind = "STRING" },
    ["engine-id"] = { field = fields.engine_id, kind = "STRING" },
    ["healthcheck"] = { field = fields.healthcheck, kind = "BOOL" },
    ["status-code"] = { field = fields.status_code, kind = "integer of at most 32 bits" },
    ["message"] = { field = fields.status_message, kind = "STRING" },
}

local REQUIRED_KEYS = {
    [HAPROXY_HELLO] = { "supported-versions", "max-frame-size", "capabilities" },
    [AGENT_HELLO] = { "version", "max-frame-size", "capabilities" },
    [HAPROXY_DISCONNECT] = { "status-code", "message" },
    [AGENT_DISCONNECT] = { "status-code", "message" },
}

local function has_kind(value, kind)
    if kind == "STRING" then
        return text_of(value) ~= nil
    elseif kind == "BOOL" then
        return value.type == 1
    end
    return number_of(value) ~= nil
end

local function check_keys(frame)
    for _, item in ipairs(frame.payload.items) do
        local key = item.key.text
        if key == "" then
            add_problem(frame, "bad_key", "A key is empty")
        elseif KEYS[key] and not has_kind(item.value, KEYS[key].kind) then
            add_problem(frame, "bad_key", ("The value of %s has to be: %s"):format(key, KEYS[key].kind))
        end
    end
    -- Keys after an error may be present, so they cannot be called missing.
    for _, key in ipairs(frame.payload.failure and {} or REQUIRED_KEYS[frame.type]) do
        if not frame.keys[key] then
            add_problem(frame, "missing_key", "The key " .. key .. " is missing")
        end
    end
end

local function check_hello(frame)
    local size = number_of(frame.keys["max-frame-size"])
    if size and size < MAX_FRAME_SIZE_MIN then
        add_problem(frame, "bad_max_frame_size", "max-frame-size is below " .. MAX_FRAME_SIZE_MIN)
    end
    local versions = text_of(frame.keys["supported-versions"])
    local version = text_of(frame.keys["version"])
    if frame.type == AGENT_HELLO and version and not lists(version, "2.0") then
        add_problem(frame, "bad_version", "HAProxy requires version 2.0")
    elseif frame.type == HAPROXY_HELLO and versions and not (", " .. versions):find("[, ]2%.%d") then
        add_problem(frame, "bad_version", "No version 2.x is among the supported versions")
    end
end

local function is_zero(id)
    return id.low == 0 and id.high == 0
end

local function check_actions(frame)
    for _, action in ipairs(frame.payload.items) do
        if not SCOPES[action.scope] then
            add_problem(frame, "bad_action", "Scope " .. action.scope .. " is unknown")
        end
    end
end

-- Adds the problems of a frame that do not depend on other frames.
local function check_frame(frame)
    if not FRAME_TYPES[frame.type] then
        add_problem(frame, "unknown_type", "Frame type " .. frame.type .. " is unknown")
    elseif not frame.fin and not frame.is_fragment then
        add_problem(frame, "fin_clear", "FIN is clear, but " .. FRAME_TYPES[frame.type] .. " is never fragmented")
    end
    if not frame.frame_id then
        return
    elseif frame.type == ACK then
        check_actions(frame)
    elseif REQUIRED_KEYS[frame.type] then
        if not is_zero(frame.stream_id) or not is_zero(frame.frame_id) then
            add_problem(frame, "ids_not_zero", "The stream-id and the frame-id have to be 0")
        end
        check_keys(frame)
        check_hello(frame)
    end
end

-- ---------------------------------------------------------------------------------------------------------------------
-- Tracking of conversations
-- ---------------------------------------------------------------------------------------------------------------------

-- Lists of conversations, by their two ports.
local conversations = {}
-- What tracking found out about each frame, by record_key().
local records = {}

-- Forgets all state except the two ends.
local function begin_connection(conversation)
    local first, second = conversation.first, conversation.second
    for name in pairs(conversation) do
        conversation[name] = nil
    end
    conversation.first, conversation.second = first, second
    conversation.requests, conversation.assemblies = {}, {}
end

local function is_end(place, address, port)
    return place.port == port and place.address == address
end

local function is_sent_by_first(conversation, pinfo)
    return is_end(conversation.first, pinfo.src, pinfo.src_port)
        and is_end(conversation.second, pinfo.dst, pinfo.dst_port)
end

local function is_sent_by_second(conversation, pinfo)
    return is_end(conversation.second, pinfo.src, pinfo.src_port)
        and is_end(conversation.first, pinfo.dst, pinfo.dst_port)
end

-- Returns the conversation of a packet in the first pass. The field tcp.stream would be simpler, but it has no value
-- when Wireshark reads a file without building trees. Addresses are compared as objects, because their text changes
-- when name resolution finds a name.
local function conversation_of(pinfo)
    local low, high = math.min(pinfo.src_port, pinfo.dst_port), math.max(pinfo.src_port, pinfo.dst_port)
    local key = low .. " " .. high
    local list = conversations[key] or {}
    conversations[key] = list
    for _, conversation in ipairs(list) do
        if is_sent_by_first(conversation, pinfo) or is_sent_by_second(conversation, pinfo) then
            return conversation
        end
    end
    local conversation = {
        first = { address = pinfo.src, port = pinfo.src_port },
        second = { address = pinfo.dst, port = pinfo.dst_port },
    }
    begin_connection(conversation)
    table.insert(list, conversation)
    return conversation
end

-- Returns the end that sent a packet, and the other one.
local function ends_of(conversation, pinfo)
    if is_sent_by_first(conversation, pinfo) then
        return conversation.first, conversation.second
    end
    return conversation.second, conversation.first
end

-- Returns the exact decimal digits of an id or other integer.
local function digits(integer)
    return tostring(UInt64.new(integer.low, integer.high))
end

-- Every pass has to find the same key for a frame. TCP passes on the bytes of a packet, and separately those that it
-- has reassembled, which begin at offset 0 of their own buffer. The port separates packets in one tunnelled packet.
local function record_key(call, offset)
    return ("%d %d %d %d"):format(call.pinfo.number, call.pinfo.src_port, call.tvb:offset(), offset)
end

-- HAProxy is the end that sends frames of types 0 to 3.
local function track_side(conversation, frame, pinfo, record)
    if not FRAME_TYPES[frame.type] then
        return
    end
    local sender, receiver = ends_of(conversation, pinfo)
    local is_haproxy_type = frame.type <= NOTIFY
    conversation.haproxy = conversation.haproxy or (is_haproxy_type and sender or receiver)
    if (conversation.haproxy == sender) ~= is_haproxy_type then
        local side = is_haproxy_type and "the agent" or "HAProxy"
        add_problem(record, "wrong_side", FRAME_TYPES[frame.type] .. " is never sent by " .. side)
    end
end

local function track_size(conversation, frame, record)
    local size = conversation.negotiated
    if size and frame.length > size then
        local text = "The length %d is above the negotiated max-frame-size %d"
        add_problem(record, "above_negotiated", text:format(frame.length, size))
    end
end

local function track_haproxy_hello(conversation, frame)
    conversation.offered = number_of(frame.keys["max-frame-size"])
    conversation.offered_capabilities = text_of(frame.keys["capabilities"])
    conversation.has_hello = true
end

local function track_agent_hello(conversation, frame, record)
    local size, capabilities = number_of(frame.keys["max-frame-size"]), text_of(frame.keys["capabilities"])
    local offered = conversation.offered
    if size and offered and size > offered then
        local text = "max-frame-size %d is above the offered %d"
        add_problem(record, "bad_max_frame_size", text:format(size, offered))
    end
    conversation.negotiated = size or offered
    conversation.has_agent_hello = true
    conversation.is_async = lists(capabilities, "async") and lists(conversation.offered_capabilities, "async")
    -- HAProxy never lists this capability, but uses it when the agent does.
    conversation.has_fragmentation = lists(capabilities, "fragmentation")
end

-- Keeps the payload of a fragment until the last one has arrived.
local function add_fragment(assembly, frame, number, record)
    assembly.numbers[#assembly.numbers + 1] = number
    assembly.size = assembly.size + #frame.bytes - frame.payload_at + 1
    if assembly.size > REASSEMBLED_MAX then
        assembly.parts = nil
        add_problem(record, "not_reassembled", "The fragments exceed " .. REASSEMBLED_MAX .. " bytes")
    elseif assembly.parts then
        assembly.parts[#assembly.parts + 1] = frame.bytes:sub(frame.payload_at)
    end
end

local function finish_assembly(assembly, frame, number, record)
    if frame.abort then
        assembly.aborted_in = number
    else
        assembly.finished_in = number
        record.reassembled = assembly.parts and table.concat(assembly.parts)
    end
    assembly.parts = nil
end

local function check_fragment(conversation, frame, key, record)
    local open = conversation.open_assembly
    if open and (open ~= key or frame.type == NOTIFY) then
        add_problem(record, "bad_fragment", "Another fragmented NOTIFY is not finished")
    end
    -- Whether fragments are allowed is unknown if the capture begins after the HELLO.
    if not conversation.has_agent_hello or not frame.is_fragment then
        return
    elseif not conversation.has_fragmentation then
        add_problem(record, "fin_clear", "The agent does not support fragmentation")
    elseif frame.type == UNSET and not conversation.assemblies[key] then
        add_problem(record, "bad_fragment", "No fragmented NOTIFY with these ids has begun")
    end
end

local function track_fragment(conversation, frame, key, pinfo, record)
    check_fragment(conversation, frame, key, record)
    if not frame.is_fragment then
        return
    end
    if frame.type == NOTIFY then
        conversation.assemblies[key] = { numbers = {}, parts = {}, size = 0 }
    end
    local assembly = conversation.assemblies[key]
    if not assembly then
        return
    end
    record.assembly = assembly
    add_fragment(assembly, frame, pinfo.number, record)
    conversation.open_assembly = not frame.fin and key or nil
    if frame.fin then
        finish_assembly(assembly, frame, pinfo.number, record)
        conversation.assemblies[key] = nil
    end
end

-- Remembers a NOTIFY until its ACK. The response time begins with the last fragment before the ACK.
local function track_notify(conversation, frame, pinfo, record)
    local key = digits(frame.stream_id) .. "/" .. digits(frame.frame_id)
    track_fragment(conversation, frame, key, pinfo, record)
    local queue = conversation.requests[key]
    if frame.type == NOTIFY then
        queue = queue or { next = 1 }
        conversation.requests[key] = queue
        queue[#queue + 1] = {}
    end
    local request = queue and queue[#queue]
    record.request = request
    if request and not request.response_in then
        request.number, request.time = pinfo.number, pinfo.rel_ts
    end
end

local function track_ack(conversation, frame, pinfo, record)
    local queue = conversation.requests[digits(frame.stream_id) .. "/" .. digits(frame.frame_id)]
    if not queue then
        -- The NOTIFY may be on another connection, or before the capture.
        if conversation.has_hello and not conversation.is_async then
            add_problem(record, "unexpected_ack", "No NOTIFY on this connection has these ids")
        end
        return
    end
    local request = queue[queue.next]
    if request then
        queue.next = queue.next + 1
        request.response_in = pinfo.number
    else
        request = queue[#queue]
        local text = "The NOTIFY was already answered in packet " .. request.response_in
        add_problem(record, "second_ack", text)
    end
    record.response_to, record.delay = request.number, pinfo.rel_ts - request.time
end

local TRACK = {
    [UNSET] = track_notify,
    [HAPROXY_HELLO] = track_haproxy_hello,
    [NOTIFY] = track_notify,
    [AGENT_HELLO] = function(conversation, frame, _, record) track_agent_hello(conversation, frame, record) end,
    [AGENT_DISCONNECT] = function(conversation) conversation.is_disconnected = true end,
    [ACK] = track_ack,
}

local function track_frame(conversation, frame, pinfo)
    local record = {}
    -- Every connection has one HELLO, so another one belongs to a new connection between the same ports.
    if frame.type == HAPROXY_HELLO then
        begin_connection(conversation)
    end
    track_side(conversation, frame, pinfo, record)
    track_size(conversation, frame, record)
    if conversation.is_disconnected and frame.type > NOTIFY then
        add_problem(record, "after_disconnect", "The agent has already sent AGENT-DISCONNECT")
    end
    if TRACK[frame.type] and frame.frame_id then
        TRACK[frame.type](conversation, frame, pinfo, record)
    end
    return record
end

-- Returns the record of a frame. Only the first pass reads packets in order, and only it changes the conversation.
local function record_of(call, frame, offset)
    local key = record_key(call, offset)
    if not call.pinfo.visited and not records[key] then
        records[key] = track_frame(conversation_of(call.pinfo), frame, call.pinfo)
    end
    return records[key] or {}
end

-- Returns true for bytes without a whole frame that the agent sent after AGENT-DISCONNECT.
local function is_after_disconnect(call, offset)
    local key = "rest " .. record_key(call, offset)
    if not call.pinfo.visited then
        local conversation = conversation_of(call.pinfo)
        if conversation.is_disconnected and conversation.haproxy ~= ends_of(conversation, call.pinfo) then
            records[key] = true
        end
    end
    return records[key]
end

function spop.init()
    conversations, records = {}, {}
end

-- ---------------------------------------------------------------------------------------------------------------------
-- Text for the Info column and for items of the tree
-- ---------------------------------------------------------------------------------------------------------------------

-- Shortens a text and replaces bytes that are not printable ASCII.
local function printable(text, max)
    local short = text:sub(1, max)
    short = short:gsub("[^\32-\126]", function(byte) return ("\\x%02x"):format(byte:byte()) end)
    return #text > max and short .. "..." or short
end

-- A source is a string of bytes together with the buffer that holds them, from `base` on.
local function range_of(source, at, size)
    return source.tvb:range(source.base + at - 1, size)
end

local function signed_text(_, value)
    return tostring(Int64.new(value.integer.low, value.integer.high))
end

local function unsigned_text(_, value)
    return digits(value.integer)
end

local VALUE_TEXT = {
    [0] = function() return "null" end,
    [1] = function(_, value) return tostring(value.bool) end,
    [2] = signed_text,
    [3] = unsigned_text,
    [4] = signed_text,
    [5] = unsigned_text,
    [6] = function(source, value) return tostring(range_of(source, value.at + 1, 4):ipv4()) end,
    [7] = function(source, value) return tostring(range_of(source, value.at + 1, 16):ipv6()) end,
    [8] = function(_, value) return printable(value.string.text, INFO_VALUE_MAX) end,
    [9] = function(_, value) return ("<%d bytes>"):format(value.string.size) end,
}

local function value_text(source, value)
    return VALUE_TEXT[value.type](source, value)
end

local function arg_text(source, arg)
    local name = printable(arg.name.text, INFO_VALUE_MAX)
    return (name == "" and "" or name .. "=") .. value_text(source, arg.value)
end

-- Joins texts until the Info column is full anyway.
local function join(items, separator, text_of_item)
    local parts, size = {}, 0
    for _, item in ipairs(items) do
        if size > INFO_MAX then
            break
        end
        parts[#parts + 1] = text_of_item(item)
        size = size + #parts[#parts] + #separator
    end
    return table.concat(parts, separator)
end

local function message_text(source, message)
    local args = join(message.args, ", ", function(arg) return arg_text(source, arg) end)
    return printable(message.name.text, INFO_VALUE_MAX) .. "(" .. args .. ")"
end

local function action_text(source, action)
    local scope = SCOPES[action.scope] or "scope-" .. action.scope
    local variable = scope .. "." .. printable(action.name.text, INFO_VALUE_MAX)
    if action.type == SET_VAR then
        return "set " .. variable .. "=" .. value_text(source, action.value)
    end
    return "unset " .. variable
end

local function hello_text(frame)
    local size = number_of(frame.keys["max-frame-size"])
    local parts = { text_of(frame.keys["supported-versions"]) or text_of(frame.keys["version"]) or "" }
    parts[#parts + 1] = size and "max-frame-size=" .. size
    parts[#parts + 1] = text_of(frame.keys["capabilities"])
    local healthcheck = frame.keys["healthcheck"]
    parts[#parts + 1] = healthcheck and healthcheck.bool and "healthcheck"
    return printable(table.concat(parts, " "), INFO_MAX)
end

local function disconnect_text(frame)
    local code, message = number_of(frame.keys["status-code"]), text_of(frame.keys["message"])
    return ("code=%s %s"):format(code or "none", printable(message or "", INFO_VALUE_MAX))
end

local function ids_text(frame)
    return ("sid=%s fid=%s"):format(digits(frame.stream_id), digits(frame.frame_id))
end

-- Returns the text for what follows the ids of a frame.
local function content_text(frame, record, source)
    local payload = source.payload
    if frame.type == ACK and payload then
        return join(payload.items, "; ", function(action) return action_text(source, action) end)
    elseif payload then
        return join(payload.items, " ", function(message) return message_text(source, message) end)
    elseif frame.abort and record.assembly and record.assembly.aborted_in then
        return "cancelled"
    end
    return frame.is_fragment and "fragment" or ""
end

-- Returns the text of a frame, without its errors.
local function frame_text(frame, record, source)
    local text = FRAME_TYPES[frame.type] or "type " .. frame.type
    if not frame.frame_id then
        return text
    elseif frame.type == HAPROXY_HELLO or frame.type == AGENT_HELLO then
        text = text .. " " .. hello_text(frame)
    elseif frame.type == HAPROXY_DISCONNECT or frame.type == AGENT_DISCONNECT then
        text = text .. " " .. disconnect_text(frame)
    else
        local abort = frame.type == ACK and frame.abort and " ABORT " or " "
        text = text .. " " .. ids_text(frame) .. abort .. content_text(frame, record, source)
    end
    return (text:gsub("%s+$", ""))
end

-- ---------------------------------------------------------------------------------------------------------------------
-- The tree
-- ---------------------------------------------------------------------------------------------------------------------

local function show_string(tree, field, source, string)
    if string.size > 0 then
        return tree:add_packet_field(field, range_of(source, string.at, string.size), ENC_UTF_8)
    end
    -- An empty string has no bytes to select, so its length stands for it.
    return tree:add(field, range_of(source, string.length.at, string.length.size), "")
end

local function show_integer(field, new)
    return function(tree, source, value)
        local integer = value.integer
        tree:add(field, range_of(source, integer.at, integer.size), new(integer.low, integer.high))
    end
end

local SHOW_VALUE = {
    [0] = function(tree, source, value) tree:add(fields.value_null, range_of(source, value.at, 1)) end,
    [1] = function(tree, source, value) tree:add(fields.value_bool, range_of(source, value.at, 1), value.bool) end,
    [2] = show_integer(fields.value_int32, Int64.new),
    [3] = show_integer(fields.value_uint32, UInt64.new),
    [4] = show_integer(fields.value_int64, Int64.new),
    [5] = show_integer(fields.value_uint64, UInt64.new),
    [6] = function(tree, source, value) tree:add(fields.value_ipv4, range_of(source, value.at + 1, 4)) end,
    [7] = function(tree, source, value) tree:add(fields.value_ipv6, range_of(source, value.at + 1, 16)) end,
    [8] = function(tree, source, value) show_string(tree, fields.value_string, source, value.string) end,
    [9] = function(tree, source, value)
        local at, size = value.string.at, value.string.size
        -- Wireshark has no bytes field without bytes, so the tree of an empty binary holds only its type.
        if size > 0 then
            tree:add(fields.value_binary, range_of(source, at, size))
        end
    end,
}

local function show_value(tree, source, value)
    tree:add(fields.value_type, range_of(source, value.at, 1))
    tree:add(fields.value_flags, range_of(source, value.at, 1))
    SHOW_VALUE[value.type](tree, source, value)
end

local function show_known_key(tree, source, key, value)
    local known = KEYS[key]
    if not known or not has_kind(value, known.kind) then
        return
    elseif known.kind == "STRING" then
        show_string(tree, known.field, source, value.string)
    elseif known.kind == "BOOL" then
        tree:add(known.field, range_of(source, value.at, 1), value.bool)
    else
        tree:add(known.field, range_of(source, value.integer.at, value.integer.size), value.integer.low)
    end
end

local function show_pair(tree, source, pair)
    local item = tree:add(fields.kv, range_of(source, pair.at, pair.size))
    item:set_text(printable(pair.key.text, INFO_VALUE_MAX) .. ": " .. value_text(source, pair.value))
    show_string(item, fields.kv_key, source, pair.key)
    show_value(item, source, pair.value)
    show_known_key(item, source, pair.key.text, pair.value)
end

local function show_arg(tree, source, arg)
    local item = tree:add(fields.arg, range_of(source, arg.at, arg.size))
    local name = show_string(item, fields.arg_name, source, arg.name)
    if arg.name.size == 0 then
        name:set_text("Name: (unnamed)")
        item:set_text("Argument: (unnamed) = " .. value_text(source, arg.value))
    else
        item:set_text(("Argument: %s = %s"):format(printable(arg.name.text, INFO_VALUE_MAX),
            value_text(source, arg.value)))
    end
    show_value(item, source, arg.value)
end

local function show_message(tree, source, message)
    local item = tree:add(fields.message, range_of(source, message.at, message.size))
    item:set_text("Message: " .. printable(message_text(source, message), INFO_MAX))
    show_string(item, fields.message_name, source, message.name)
    item:add(fields.message_args, range_of(source, message.count_at, 1))
    for _, arg in ipairs(message.args) do
        show_arg(item, source, arg)
    end
end

local function show_action(tree, source, action)
    local item = tree:add(fields.action, range_of(source, action.at, action.size))
    item:set_text("Action: " .. action_text(source, action))
    item:add(fields.action_type, range_of(source, action.at, 1))
    item:add(fields.action_args, range_of(source, action.at + 1, 1))
    item:add(fields.action_scope, range_of(source, action.scope_at, 1))
    show_string(item, fields.action_name, source, action.name)
    if action.value then
        show_value(item, source, action.value)
    end
end

local SHOW_ITEM = {
    [UNSET] = show_message,
    [HAPROXY_HELLO] = show_pair,
    [HAPROXY_DISCONNECT] = show_pair,
    [NOTIFY] = show_message,
    [AGENT_HELLO] = show_pair,
    [AGENT_DISCONNECT] = show_pair,
    [ACK] = show_action,
}

local function show_payload(tree, source, frame_type)
    local payload = source.payload
    for _, item in ipairs(payload.items) do
        SHOW_ITEM[frame_type](tree, source, item)
    end
    local failure, rest = payload.failure, #source.bytes - payload.rest_at + 1
    if failure then
        local item = rest > 0 and tree:add(fields.data, range_of(source, payload.rest_at, rest)) or tree
        item:add_proto_expert_info(experts[failure.expert], failure.text)
    end
end

local function show_header(tree, source, frame)
    tree:add(fields.length, range_of(source, 1, 4))
    tree:add(fields.type, range_of(source, 5, 1))
    local range = range_of(source, 6, 4)
    local flags = tree:add(fields.flags, range)
    flags:add(fields.flags_fin, range)
    flags:add(fields.flags_abort, range)
    flags:add(fields.flags_reserved, range)
    for _, name in ipairs({ "stream_id", "frame_id" }) do
        local id = frame[name]
        if id then
            tree:add(fields[name], range_of(source, id.at, id.size), UInt64.new(id.low, id.high))
        end
    end
end

-- The fraction keeps its sign, because NSTime takes seconds and nanoseconds of the same sign.
local function nstime(seconds)
    local whole = seconds < 0 and math.ceil(seconds) or math.floor(seconds)
    return NSTime.new(whole, math.floor((seconds - whole) * 1e9 + 0.5))
end

local function show_tracking(tree, record)
    if record.request and record.request.response_in then
        tree:add(fields.response_in, record.request.response_in):set_generated()
    end
    if record.response_to then
        tree:add(fields.response_to, record.response_to):set_generated()
        tree:add(fields.time, nstime(record.delay)):set_generated()
    end
    local assembly = record.assembly
    if assembly and assembly.finished_in and not record.reassembled then
        tree:add(fields.reassembled_in, assembly.finished_in):set_generated()
    end
end

local function show_fragments(tree, record)
    local assembly = record.assembly
    tree:add(fields.fragment_count, #assembly.numbers):set_generated()
    tree:add(fields.reassembled_length, assembly.size):set_generated()
    for index, number in ipairs(assembly.numbers) do
        -- The list is for navigation, and a list of thousands has no use.
        if index <= 1000 then
            tree:add(fields.fragment, number):set_generated()
        end
    end
end

local function show_frame(tree, frame, record, source)
    show_header(tree, frame.source, frame)
    show_tracking(tree, record)
    local rest = #frame.bytes - frame.payload_at + 1
    if not frame.payload and rest > 0 then
        local field = frame.is_fragment and fields.fragment_data or fields.data
        tree:add(field, range_of(frame.source, frame.payload_at, rest))
    end
    if record.reassembled then
        show_fragments(tree, record)
    end
    if source.payload then
        show_payload(tree, source, frame.type)
    end
end

-- ---------------------------------------------------------------------------------------------------------------------
-- The dissector
-- ---------------------------------------------------------------------------------------------------------------------

-- Returns the bytes that hold the messages of a fragmented NOTIFY, as a source.
local function reassembled_source(record)
    local bytes = record.reassembled
    local source = { bytes = bytes, base = 0, payload = parse_payload(parse_messages, bytes, 1) }
    -- Wireshark has no buffer without bytes.
    if #bytes > 0 then
        source.tvb = ByteArray.new(bytes, true):tvb("Reassembled NOTIFY")
    end
    return source
end

-- Adds an item for a frame. Returns nil if the segment has too many fields already.
local function add_frame_item(call, range, values)
    if call.fields > FIELDS_MAX then
        return nil
    end
    call.fields = call.fields + 20 + 8 * values
    local item = call.tree:add(spop, range)
    if call.fields > FIELDS_MAX then
        item:add_proto_expert_info(experts.not_shown, "Further frames in these bytes are not shown")
    end
    return item
end

local function add_info(call, text)
    if call.info_size <= INFO_MAX then
        call.info[#call.info + 1] = text
        call.info_size = call.info_size + #text + 2
    end
end

local function dissect_frame(call, offset, size)
    local frame = parse_frame(call.tvb:raw(offset, size))
    frame.source = { tvb = call.tvb, base = offset, bytes = frame.bytes, payload = frame.payload }
    local record = record_of(call, frame, offset)
    local source = record.reassembled and reassembled_source(record) or frame.source
    check_frame(frame)
    local payload, text = source.payload, frame_text(frame, record, source)
    local is_bad = frame.problems or record.problems or (payload and payload.failure)
    add_info(call, is_bad and text .. " [!]" or text)
    local item = add_frame_item(call, call.tvb:range(offset, size), payload and payload.values or 0)
    if not item then
        return
    end
    item:append_text(", " .. printable(text, INFO_MAX))
    for _, owner in ipairs({ frame, record }) do
        for _, problem in ipairs(owner.problems or {}) do
            item:add_proto_expert_info(experts[problem.expert], problem.text)
        end
    end
    show_frame(item, frame, record, source)
end

-- Shows bytes that cannot be divided into frames, with an error unless it is nil.
local function show_rest(call, offset, expert_name, text)
    local left = call.tvb:len() - offset
    local item = call.tree:add(spop, call.tvb:range(offset, left))
    local has_length = left >= LENGTH_SIZE
    local place = has_length and item:add(fields.length, call.tvb:range(offset, LENGTH_SIZE)) or item
    if expert_name then
        place:add_proto_expert_info(experts[expert_name], text)
    end
    if is_after_disconnect(call, offset) then
        item:add_proto_expert_info(experts.after_disconnect)
    end
    local from = has_length and LENGTH_SIZE or 0
    if left > from then
        item:add(fields.data, call.tvb:range(offset + from, left - from))
    end
end

-- Asks TCP for more bytes of a frame. Returns nil.
local function wait_for_bytes(call, offset, missing)
    if is_after_disconnect(call, offset) then
        -- Waiting would hide the error until the frame is complete, which may never happen.
        add_info(call, "bytes after AGENT-DISCONNECT")
        show_rest(call, offset)
    elseif call.pinfo.can_desegment > 0 then
        call.pinfo.desegment_offset = offset
        call.pinfo.desegment_len = missing
    else
        add_info(call, "incomplete frame")
        show_rest(call, offset, "not_reassembled", "The rest of the frame is not available in this packet")
    end
    return nil
end

-- Dissects the frame at the offset. Returns its size, or nil if no further frame can be dissected.
local function dissect_next(call, offset)
    local left = call.tvb:len() - offset
    if left < LENGTH_SIZE then
        return wait_for_bytes(call, offset, DESEGMENT_ONE_MORE_SEGMENT)
    end
    local length, limit = call.tvb:range(offset, LENGTH_SIZE):uint(), math.min(spop.prefs.max_frame, LIMIT_MAX)
    if length < FRAME_MIN or length > limit then
        add_info(call, "bad length " .. length)
        local text = length < FRAME_MIN and "The length is below " .. FRAME_MIN or "The length is above " .. limit
        show_rest(call, offset, "bad_length", text .. " bytes")
        return nil
    end
    local size = LENGTH_SIZE + length
    if left < size then
        return wait_for_bytes(call, offset, size - left)
    end
    dissect_frame(call, offset, size)
    return size
end

-- Wireshark calls the dissector more than once for a packet that ends one reassembled frame and holds others.
local function write_columns(call)
    if #call.info == 0 then
        return
    end
    local cols = call.pinfo.cols
    local is_first = tostring(cols.protocol) ~= "SPOP"
    cols.protocol:set("SPOP")
    local text = table.concat(call.info, ", ")
    text = #text > INFO_MAX and text:sub(1, INFO_MAX) .. "..." or text
    if is_first then
        cols.info:set(text)
    else
        cols.info:append(", " .. text)
    end
    cols.info:fence()
end

function spop.dissector(tvb, pinfo, tree)
    -- A quotation in an ICMP error is not part of the conversation.
    if pinfo.in_error_pkt then
        return 0
    end
    local call = { tvb = tvb, pinfo = pinfo, tree = tree, fields = 0, info = {}, info_size = 0 }
    local offset = 0
    while offset < tvb:len() do
        local size = dissect_next(call, offset)
        if not size then
            break
        end
        offset = offset + size
    end
    write_columns(call)
    return tvb:len()
end

local tcp_ports = DissectorTable.get("tcp.port")
local port = 0

-- Moves the dissector to the port of the preference.
local function use_port()
    if port > 0 then
        tcp_ports:remove(port, spop)
    end
    port = spop.prefs.port <= 65535 and spop.prefs.port or 0
    if port > 0 then
        tcp_ports:add(port, spop)
    end
end

function spop.prefs_changed()
    if spop.prefs.port ~= port then
        use_port()
    end
end

-- "Decode as" offers the dissector even if no port is set.
tcp_ports:add_for_decode_as(spop)
use_port()
