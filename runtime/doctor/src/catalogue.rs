//! All kinds of findings, with their texts: the report and the manual are made of these.

/// The harm of a finding, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A client that should be refused passes, always or whenever it wants to.
    ProtectsNothing,
    /// If the agent fails, clients pass and nobody notices.
    FailsOpenUnnoticed,
    /// Works until something usual happens.
    Fragile,
    /// Works, and costs more than it has to.
    Slow,
}

impl Severity {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::ProtectsNothing, Self::FailsOpenUnnoticed, Self::Fragile, Self::Slow];

    /// True if the setup does what it is meant to, until something usual happens or at a higher cost.
    pub const fn is_advice(self) -> bool {
        matches!(self, Self::Fragile | Self::Slow)
    }

    /// Returns the text in reports: `protects nothing` and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProtectsNothing => "protects nothing",
            Self::FailsOpenUnnoticed => "fails open unnoticed",
            Self::Fragile => "fragile",
            Self::Slow => "slow",
        }
    }
}

/// A kind of finding. In the texts, `{name}` stands for something that a finding replaces.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// A name that does not change.
    pub id: &'static str,
    /// The harm.
    pub severity: Severity,
    /// The fault, as a short clause.
    pub title: &'static str,
    /// The consequence, as a sentence.
    pub happens: &'static str,
    /// The cure, as a sentence.
    pub cure: &'static str,
}

impl Kind {
    /// Returns a text of this kind for readers without a certain finding: what a finding replaces is in capitals.
    pub fn general(text: &str) -> String {
        let mut general = String::new();
        let (open, closed) = ("\u{1}", "\u{2}");
        let text = text.replace("{{", open).replace("}}", closed);
        let mut rest = text.as_str();
        while let Some((before, name)) = rest.split_once('{') {
            let (name, after) = name.split_once('}').unwrap_or((name, ""));
            general += before;
            general += &name.to_ascii_uppercase();
            rest = after;
        }
        general += rest;
        general.replace(open, "{").replace(closed, "}")
    }
}

macro_rules! catalogue {
    ($($severity:ident { $($name:ident $id:literal $title:literal $happens:literal $cure:literal)* })*) => {
        $($(
            pub(crate) const $name: Kind = Kind {
                id: $id,
                severity: Severity::$severity,
                title: $title,
                happens: $happens,
                cure: $cure,
            };
        )*)*

        /// All kinds of findings, the worst first.
        pub const KINDS: &[&Kind] = &[$($(&$name),*),*];
    };
}

catalogue! {
    ProtectsNothing {
        RANDOM_SCORES "random-scores"
            "the agent has no list"
            "Scores are random, so rules refuse clients by chance."
            "Add a `[[list]]` to the agent's configuration."
        EVERYTHING_IN_SHADOW "everything-in-shadow"
            "all lists are in shadow mode"
            "Lists in shadow mode have no effect on the verdict, so no client has a low score and every client passes."
            "Remove `shadow` from a list to enforce it."
        MESSAGE_IN_SHADOW "message-in-shadow"
            "a message is in shadow mode"
            "The verdict of the message `{message}` is always `unknown`, so every client passes."
            "Remove `shadow` from the message to enforce its verdict."
        LIST_FILE_MISSING "list-file-missing"
            "the file of every list is missing"
            "The list `{list}` is optional and its file `{path}` is not there, so the list is empty and every client passes."
            "Download the list, or correct its `path`."
        MESSAGE_WITHOUT_LISTS "message-without-lists"
            "a message counts `allow` lists only"
            "The message `{message}` counts only lists that allow, so no client is ever listed."
            "Add a list of bad addresses to `lists` of the message."
        MESSAGE_NOT_SERVED "message-not-served"
            "the agent does not serve a message"
            "The agent answers the message `{message}` without any variable, so rules that read its variables are never true."
            "Give the message a name that the agent serves ({served}), or add a `[[message]]` for it to the agent's configuration."
        BUILT_IN_MESSAGES_REPLACED "built-in-messages-replaced"
            "a `[[message]]` replaces the built-in messages"
            "Because the agent's configuration has a `[[message]]`, the agent serves only such messages and answers `{message}` without any variable."
            "Add a `[[message]]` for `{message}` as well."
        MESSAGE_NOT_LISTED "message-not-listed"
            "a message is in no `messages` line"
            "HAProxy never sends the message `{message}`."
            "Add `{message}` to the `messages` line of the `spoe-agent` section, or to a group."
        GROUP_NEVER_SENT "group-never-sent"
            "no rule sends a group"
            "No rule of a proxy with the filter sends the group `{group}`, so HAProxy never asks the agent with it."
            "Add `http-request send-spoe-group {engine} {group}` to the proxy."
        HTTP_EVENT_IN_TCP_MODE "http-event-in-tcp-mode"
            "an event of HTTP in a proxy in TCP mode"
            "The event `{event}` never occurs in TCP mode, so HAProxy never asks the agent."
            "Use `on-client-session` or `on-frontend-tcp-request`, or set `mode http`."
        FILTER_IN_UNUSED_BACKEND "filter-in-unused-backend"
            "the filter is in a backend that no frontend uses"
            "No request passes the backend `{proxy}`, so HAProxy never asks the agent."
            "Move the filter and its rules to a proxy that requests pass."
        VARIABLE_PREFIX "variable-prefix"
            "a rule reads a variable with another prefix than the agent's section sets"
            "The answer is in `{answer}`; `{variable}` is never set, so the condition is never true."
            "Read `var({answer})` in the rule, or change `option var-prefix` in the `spoe-agent` section."
        VARIABLE_SCOPE "variable-scope"
            "a rule reads a variable in another scope than the agent sets"
            "The agent sets `{answer}`; `{variable}` is never set, so the condition is never true."
            "Read `var({answer})`, or set `scope` of the message in the agent's configuration."
        VARIABLE_NAME "variable-name"
            "a rule reads a variable that the agent never sets"
            "The agent sets no variable `{variable}`, so the condition is never true."
            "Read one of the variables that it sets: {known}."
        VARIABLE_RENAMED "variable-renamed"
            "a rule reads the usual name of a variable that the agent's configuration renames"
            "The agent's configuration gives the variables of `{message}` other names, so `{variable}` is never set."
            "Read one of the variables that it sets: {known}."
        ANSWER_UNUSED "answer-unused"
            "nothing reads a variable of the agent"
            "HAProxy asks the agent and nothing uses the answer, so every client passes."
            "Add a rule, such as `http-request deny if {{ var({answer}) -m int lt 20 }}`, or in TCP mode `tcp-request content reject if ...`."
        ACL_UNUSED "acl-unused"
            "an ACL reads the answer, but no rule uses the ACL"
            "The ACL `{acl}` alone does nothing, so every client passes."
            "Add a rule, such as `http-request deny if {acl}`, or in TCP mode `tcp-request content reject if {acl}`."
        CONNECTION_RULE "connection-rule"
            "a `tcp-request connection` rule reads the answer"
            "These rules run before HAProxy sends any event, so `{variable}` is never set there."
            "Use `http-request deny`, or `tcp-request content reject` in TCP mode."
        SESSION_RULE "session-rule"
            "a `tcp-request session` rule reads the answer"
            "These rules run before HAProxy sends any event, so `{variable}` is never set there."
            "Use `http-request deny`, or `tcp-request content reject` in TCP mode."
        CONTENT_RULE_BEFORE_EVENT "content-rule-before-event"
            "a `tcp-request content` rule reads the answer to a later event"
            "HAProxy sends `{event}` after the `tcp-request content` rules, so `{variable}` is not set when the rule runs."
            "Use `http-request deny`, or an earlier event such as `on-client-session`."
        RESPONSE_EVENT "response-event"
            "a rule for requests reads the answer to an event of responses"
            "HAProxy sends `{event}` after all rules for requests, so `{variable}` is not set when the rule runs."
            "Use the event `on-frontend-http-request`, or a rule for responses."
        RULE_BEFORE_EVENT "rule-before-event"
            "a rule runs before the event whose answer it reads"
            "HAProxy sends `{event}` after this rule has run, so `{variable}` is not set then."
            "Use an earlier event, such as `on-frontend-http-request`."
        GROUP_SENT_AFTER_RULE "group-sent-after-rule"
            "a rule is before the `send-spoe-group` rule whose answer it reads"
            "Rules run in their order, so `{variable}` is not set when this rule runs."
            "Move the `send-spoe-group` rule before it."
        COPY_SET_AFTER_RULE "copy-set-after-rule"
            "a rule reads a copy of the answer before the copy is made"
            "Rules run in their order, so `{variable}` is not set when this rule runs."
            "Move the `set-var({variable})` rule before it."
        FRONTEND_WITHOUT_FILTER "frontend-without-filter"
            "a rule reads the answer in a proxy that does not ask"
            "The filter of the engine `{engine}` is in another proxy, so `{variable}` is never set in `{proxy}`."
            "Add the `filter spoe` line to the frontend that these requests come from."
        BOOLEAN_COMPARED_AS_STRING "boolean-compared-as-string"
            "a boolean is compared as a string"
            "As a string HAProxy writes a boolean as `1` or `0`, so the comparison of `{variable}` with `{value}` is never true."
            "Write `-m bool`."
        VERDICT_WORD_UNKNOWN "verdict-word-unknown"
            "a verdict is compared with a word that is none"
            "The verdicts are `allow`, `listed` and `unknown`, so the comparison with `{value}` is never true."
            "Compare with `listed`."
        LIST_NAME_UNKNOWN "list-name-unknown"
            "a rule compares with the name of a list that does not exist"
            "The agent has no list `{value}`, so the comparison is never true."
            "Use the name of a list in the agent's configuration: {known}."
        SCORE_ABOVE_LIMIT "score-above-limit"
            "no list has a score that the rule refuses"
            "The rule refuses scores below {limit}, and the lowest score of a list is {lowest}, so every client passes."
            "Lower `score` of a list, or raise the limit in the rule."
        ADDRESS_ARGUMENT_MISSING "address-argument-missing"
            "the agent takes the address from an argument that HAProxy does not send"
            "The message rule names the argument `{argument}`, which the message `{message}` does not have, so every client is `unknown`."
            "Name the argument in the SPOE file: `{argument}=src`."
        NO_ADDRESS_ARGUMENT "no-address-argument"
            "no argument of a message has an address"
            "The agent finds no address in the message `{message}`, so every client is `unknown`."
            "Add `ip=src` to its `args`."
        IP_ARGUMENT_WITHOUT_ADDRESS "ip-argument-without-address"
            "the argument `ip` is no address"
            "The agent takes the address from the argument `ip`, which is `{expression}`, so every client is `unknown`."
            "Write `ip=src`, and give the other argument another name."
        OWN_ADDRESS_JUDGED "own-address-judged"
            "HAProxy's own address is judged"
            "Of several addresses without the name `ip` the agent judges the first, which is the destination, so every client has the same verdict."
            "Write `ip=src`."
        MASKED_ADDRESS "masked-address"
            "a converter cuts bits off the address"
            "The agent looks up the address of a network, so single addresses in lists never match."
            "Write the argument without the converter `{converter}`."
        CLIENT_CHOOSES_ADDRESS "client-chooses-address"
            "a client chooses the address that is judged"
            "Of several addresses without the name `ip` the agent judges the first, which is in a header that any client can send."
            "Write `ip=src`, and send the header as `ip=...` too if a proxy of yours writes it."
        FORWARDED_FIRST_VALUE "forwarded-first-value"
            "the first address of a forwarded header is judged"
            "Proxies add addresses at the end of the header, so the first one is whatever the client has sent."
            "Count from the end: the value -1 is the address that your outermost proxy saw, if there is one proxy."
        FORWARDED_LAST_LINE_ONLY "forwarded-last-line-only"
            "only the last line of a forwarded header is judged"
            "A client can send the header in several lines, and `{expression}` without a number is the last one, so the others are not judged."
            "Send each line, with the numbers 1, 2 and so on, and refuse requests with more lines."
        ARGUMENT_SET_AFTER_EVENT "argument-set-after-event"
            "the variable of an argument is set after the event"
            "HAProxy sends `{event}` before the rule that sets `{variable}`, so the argument is empty."
            "Put the expression itself into `args`, or send a group after the rule that sets the variable."
        SET_SRC_AFTER_EVENT "set-src-after-event"
            "`http-request set-src` runs after the event"
            "HAProxy sends `{event}` before the `http-request` rules, so the agent judges the address of the proxy and not that of the client."
            "Put the message into a group and send it with `http-request send-spoe-group` after this rule."
        BODY_WITHOUT_BUFFERING "body-without-buffering"
            "an argument has the body, but HAProxy does not wait for it"
            "HAProxy sends the event as soon as it has the headers, so the argument is empty or incomplete."
            "Add `option http-buffer-request` to the proxy."
        HEADER_MAY_BE_ABSENT "header-may-be-absent"
            "the only address is in a header that may be absent"
            "A request without the header `{header}` has no address, so its client is `unknown` and passes."
            "Write `ip=src` beside it, or refuse requests without the header."
        FORWARDED_HOPS_UNCHECKED "forwarded-hops-unchecked"
            "a header may have fewer addresses than the message counts on"
            "A request with fewer than {count} addresses in `{header}` did not pass all proxies and is judged without that address."
            "Add `http-request deny deny_status 400 if {{ req.hdr_cnt({header}) lt {count} }}`."
        FORWARDED_MORE_LINES "forwarded-more-lines"
            "a header may have more lines than the message sends"
            "The agent gets {count} of the header `{header}`, so an address in a later one is not judged."
            "Add `http-request deny deny_status 400 if {{ req.fhdr_cnt({header}) gt {number} }}`."
        SESSION_SCOPE_OF_HEADER_ADDRESS "session-scope-of-header-address"
            "the verdict on an address in a header is kept for the connection"
            "A proxy sends requests of many clients over one connection, and the verdict on the first of them applies to all others."
            "Use a message with the scope `txn` and without this condition, such as `check-request`."
        EVENT_CONDITION_NEVER_TRUE "event-condition-never-true"
            "the condition of an event is never true"
            "Conditions one after the other are joined by `and`, and no address is in both `{first}` and `{second}`, so HAProxy never sends the event."
            "Put both networks into one condition, or write `or` between them."
        ACCEPT_BEFORE_REJECT "accept-before-reject"
            "`tcp-request content accept` is before the rule with the answer"
            "A client that this rule accepts passes before the rule that reads `{variable}` runs."
            "Move the rule that reads the answer before it."
        VARIABLE_OVERWRITTEN "variable-overwritten"
            "two messages set the same variables"
            "The answer to `{second}` replaces the answer to `{first}`, which is about another address."
            "Set another `prefix` for one of the messages and read both scores, or send both addresses in one message."
        ENGINES_SHARE_VARIABLES "engines-share-variables"
            "two engines set the same variables"
            "The engines `{first}` and `{second}` have the same prefix of variables, so the answer to one replaces the answer to the other."
            "Set another `option var-prefix` in one section, and read both scores."
        CLIENT_CONTROLS_SIZE "client-controls-size"
            "a client can make a message too large to send"
            "The arguments repeat what the client sends, so a client with a long header makes the message larger than a frame, the event fails, and the client passes."
            "Send only the arguments that the agent reads, and each part of the request once."
        FRAME_TOO_SMALL_FOR_ARGUMENTS "frame-too-small-for-arguments"
            "`max-frame-size` is too small for the arguments"
            "HAProxy cannot send a message that does not fit into {size} bytes, so the event fails and the client passes."
            "Remove `max-frame-size`, or send fewer arguments."
        AGENT_FRAME_TOO_SMALL "agent-frame-too-small"
            "`max-frame-size` of the agent is too small for the arguments"
            "HAProxy cannot send a message that does not fit into {size} bytes, so the event fails and the client passes."
            "Remove `max-frame-size` from the agent's configuration, or send fewer arguments."
        NOTHING_ARRIVES "nothing-arrives"
            "the running agent is never asked"
            "In the {time} since its start the agent has answered {checks} and has received no NOTIFY."
            "Does the proxy with this filter have traffic, and does the event of a message occur?"
        POLICY_UNKNOWN "policy-unknown"
            "a message selects a policy that does not exist"
            "The message `{message}` selects the policy `{value}`, which the agent does not have, so it is judged by the message's own policy."
            "Use one name in both files: {known}."
        SEND_PROXY_ON_AGENT "send-proxy-on-agent"
            "`send-proxy` for the agent"
            "HAProxy sends the header of the PROXY protocol first, the agent refuses the connection, and every event fails."
            "Remove `{keyword}` from the line."
        SSL_ON_AGENT "ssl-on-agent"
            "`ssl` for the agent"
            "The agent does not speak TLS, so the server is DOWN and every event fails."
            "Remove `ssl` from the line, or put a TLS proxy before the agent."
        AGENT_DISABLED "agent-disabled"
            "no agent can be used"
            "The backend `{backend}` has no server, or HAProxy never uses one because all are disabled, so every event fails."
            "Add a `server` line, or remove `disabled`."
        NAME_NEVER_RESOLVED "name-never-resolved"
            "the name of the agent is never looked up"
            "With `init-addr none` and without `resolvers` the server stays in maintenance, so every event fails."
            "Add `resolvers` to the server line, or write `init-addr last,libc,none`."
        HTTPCHK_ON_AGENT "httpchk-on-agent"
            "the health check of the agents speaks HTTP"
            "The agent does not answer it as a web server would, so the server is DOWN and every event fails."
            "Write `option spop-check` in place of `option httpchk`."
        FRAME_SIZE_ABOVE_BUFFER "frame-size-above-buffer"
            "HAProxy's buffer is smaller than the agent's frames"
            "Since 3.1 the health check fails because the answer names a larger frame than `tune.bufsize` holds, so the server is DOWN."
            "Set `max-frame-size` in the agent's configuration to {size}, or remove `tune.bufsize`."
        SERVER_TIMEOUT_BELOW_PROCESSING "server-timeout-below-processing"
            "`timeout server` of the agents is shorter than `timeout processing`"
            "HAProxy closes the connection to an agent that would still answer in time, so the event fails."
            "Set `timeout server` of the agents' backend to a longer time, such as `3m`."
    }
    FailsOpenUnnoticed {
        FAIL_OPEN_UNNOTICED "fail-open-unnoticed"
            "nothing shows that events fail"
            "Without an answer clients pass, and there is neither a `log` line in the `spoe-agent` section nor an `option set-on-error`, so nobody notices."
            "Add `log global` and `option dontlog-normal` to the `spoe-agent` section."
        ERROR_UNREAD "error-unread"
            "nothing reads the variable of `set-on-error`"
            "The variable `{variable}` has no effect, and there is no `log` line in the `spoe-agent` section, so nobody notices that events fail."
            "Add `log global` and `option dontlog-normal` to the section, or read `var({variable})` in a rule or in the log format."
        LOG_WITHOUT_TARGET "log-without-target"
            "`log global` refers to nothing"
            "The section `global` has no `log` line, so failed events are not logged."
            "Add a `log` line to the section `global`."
        LOG_LEVEL_HIDES_FAILURES "log-level-hides-failures"
            "the level of the log leaves out failed events"
            "Failed events have the level `warning`, which is below `{level}`, so they are not logged."
            "Write `notice` in place of `{level}`."
        ERROR_VARIABLE_NEVER_SET "error-variable-never-set"
            "an error variable is read that HAProxy never sets"
            "`{variable}` is never set without `option set-on-error`, so an outage of the agent lets every client pass."
            "Add `option set-on-error {name}` to the `spoe-agent` section."
        ERROR_VARIABLE_SCOPE "error-variable-scope"
            "the error variable is read in a wrong scope"
            "HAProxy sets the variable of `set-on-error` in the scope `txn`, so `{variable}` is never set and an outage lets every client pass."
            "Read `var({answer})`."
        ERROR_VALUE_INCOMPLETE "error-value-incomplete"
            "the error is compared with one status only"
            "The status {value} is one of many: others, such as 2 or 257 of a dead agent, let the client pass."
            "Write `-m found` in place of the comparison."
        HEADER_NOT_REMOVED "header-not-removed"
            "a header with the answer may come from the client"
            "The rule sets `{header}` only if there is an answer; otherwise the header of the client reaches the site."
            "Add `http-request del-header {header}` before it."
        CHECK_MISSING "check-missing"
            "an agent has no health check"
            "HAProxy never notices that the agent `{server}` is dead: the server stays in use and its events fail."
            "Add `check inter 2s fall 2 rise 1` to the server line."
        SPOP_CHECK_MISSING "spop-check-missing"
            "`check` without `option spop-check`"
            "The check succeeds as soon as the connection is open, so an agent that hangs stays UP and its events fail."
            "Add `option spop-check` to the backend."
        TCP_CHECK_ON_AGENT "tcp-check-on-agent"
            "`option tcp-check` for the agents"
            "The check succeeds as soon as the connection is open, so an agent that hangs stays UP and its events fail."
            "Write `option spop-check` in place of `option tcp-check`."
        CHECK_TOO_SLOW "check-too-slow"
            "the health check takes minutes to notice a dead agent"
            "With `inter {inter}` and `fall {fall}` a dead agent stays in use for {seconds} s, and its events fail."
            "Write `check inter 2s fall 2 rise 1`."
    }
    Fragile {
        FAIL_CLOSED_WITH_ONE_AGENT "fail-closed-with-one-agent"
            "requests without an answer are refused, and there is one agent"
            "If the only agent stops, HAProxy refuses every client."
            "Add a second agent to the backend, with `option redispatch 1`."
        RULE_INVERTED "rule-inverted"
            "a rule refuses clients without a score"
            "The condition is also true without a score, so if the only agent stops, HAProxy refuses every client."
            "Write `if {{ var({variable}) -m int lt {limit} }}`, which lets clients pass without a score."
        NO_REDISPATCH "no-redispatch"
            "several agents without `option redispatch`"
            "Until the check has marked a dead agent DOWN, each event that HAProxy assigns to it fails."
            "Add `option redispatch 1` to the agents' backend."
        CONNECT_TIMEOUT_ABOVE_PROCESSING "connect-timeout-above-processing"
            "`timeout connect` of the agents is as long as `timeout processing`"
            "If the host of one agent is gone, the event ends before HAProxy tries another agent."
            "Set `timeout connect` to less than half of `timeout processing`."
        PROCESSING_TIMEOUT_WITHOUT_UNIT "processing-timeout-without-unit"
            "`timeout processing` has no unit"
            "HAProxy reads `{value}` as {value} ms, which may be shorter than an answer over a network takes."
            "Write the unit, such as `200ms`."
        PROCESSING_TIMEOUT_ABOVE_CLIENT "processing-timeout-above-client"
            "`timeout processing` is longer than a client waits"
            "If the agent hangs, each client waits for `{value}`, and gives up before its request continues without an answer."
            "Set `timeout processing` to the longest time that a client may be held up, such as `200ms`."
        MESSAGE_NEVER_ARRIVED "message-never-arrived"
            "a message has never arrived at the running agent"
            "HAProxy's configuration sends the message `{message}`, and the agent has received other messages only."
            "Does its event occur, and is its condition ever true? Was HAProxy reloaded after the last change?"
        ADDRESS_NOT_FOUND "address-not-found"
            "the running agent found no address in an argument"
            "The argument `{argument}` of the message `{message}` held no address {count} times since the start, and these clients were `unknown`."
            "Look at the agent's log for examples, and send an address, such as `ip=src`."
        PROCESS_SCOPE "process-scope"
            "the scope `proc` is shared by all clients"
            "The verdict on the last client applies to every request that is not judged itself."
            "Set `scope = \"txn\"` in the agent's configuration, and read the variable in the scope `txn`."
    }
    Slow {
        EVERY_EVENT_LOGGED "every-event-logged"
            "good events are logged too"
            "HAProxy writes a line per event, and failures are hard to find."
            "Add `option dontlog-normal` to the `spoe-agent` section."
        SESSION_MESSAGE_REPEATED "session-message-repeated"
            "a message of the session is sent for each request"
            "In HTTP mode HAProxy sends `on-client-session` for each request and not for each connection, although the answer stays valid."
            "Write `event on-client-session if ! {{ var({variable}) -m found }}`."
        IDENTICAL_MESSAGES "identical-messages"
            "two messages are identical"
            "The messages `{first}` and `{second}` have the same arguments and set the same variables, so the agent judges each client twice."
            "Remove one of the two messages."
        AGENTS_BACKEND_BEFORE_FRONTEND "agents-backend-before-frontend"
            "the agents' backend is in `mode tcp` and before the frontend"
            "HAProxy 3.1 and later opens a connection per event, because reuse is off."
            "Write `mode spop` in the backend, or move it after the frontend."
        SERVER_MAXCONN_ONE "server-maxconn-one"
            "`maxconn 1` allows one event at a time"
            "Each event waits until the previous one is answered."
            "Remove `maxconn` from the server line."
        POOL_DISABLED "pool-disabled"
            "`pool-max-conn 0` for an agent"
            "HAProxy 3.1 and later opens a connection per event."
            "Remove `pool-max-conn 0`."
        PIPELINING_OFF "pipelining-off"
            "`no option pipelining`"
            "HAProxy 3.1 and later opens a connection for each event that waits at the same time."
            "Remove `no option pipelining`."
        AGENT_PIPELINING_OFF "agent-pipelining-off"
            "the agent's configuration turns off pipelining"
            "HAProxy 3.1 and later opens a connection for each event that waits at the same time."
            "Remove `capability` from the agent's configuration."
        SERVER_TIMEOUT_BELOW_IDLE "server-timeout-below-idle"
            "`timeout server` of the agents is shorter than `timeout idle`"
            "HAProxy up to 3.0 ends idle connections as errors after `timeout server`, so a quiet site opens a connection per event."
            "Set `timeout server` of the agents' backend to a longer time than `timeout idle`."
        FRAMES_LIMIT "frames-limit"
            "the agent's configuration limits the NOTIFYs per connection"
            "The agent closes each connection after {frames}, so HAProxy opens new ones all the time."
            "Remove `frames` from the agent's configuration."
        IDLE_TIMEOUT_OF_AGENT "idle-timeout-of-agent"
            "the agent closes idle connections soon"
            "The agent closes connections after {value} without a NOTIFY, so a quiet site opens a connection per event."
            "Remove `idle-timeout` from the agent's configuration."
    }
}
