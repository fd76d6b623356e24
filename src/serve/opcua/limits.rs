//! Every bound of the server in one place.

use std::time::Duration;

/// What clients may have and how long they may take. Counts are per server unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads that serve connections.
    pub threads: usize,
    /// TCP connections.
    pub connections: usize,
    /// TCP connections of one peer address.
    pub connections_per_peer: usize,
    /// From accepting a connection to its whole HEL.
    pub hello: Duration,
    /// From HEL to the first secure channel.
    pub open: Duration,
    /// From the secure channel to an activated session.
    pub first_session: Duration,
    /// From the first byte of a chunk or message to its last.
    pub incoming: Duration,
    /// How long a peer may take to accept a response.
    pub send: Duration,
    /// Largest chunk in bytes that is received (Part 6, 7.1.2.3: at least 8,192).
    pub receive_chunk: usize,
    /// Largest chunk in bytes that is sent.
    pub send_chunk: usize,
    /// Largest request in bytes before the channel has an activated session.
    pub early_message: usize,
    /// Largest request in bytes.
    pub message: usize,
    /// Chunks of one request.
    pub chunks: usize,
    /// Largest response in bytes.
    pub response: usize,
    /// Shortest and longest life of a channel's token.
    pub token: (Duration, Duration),
    /// Sessions.
    pub sessions: usize,
    /// Sessions not yet activated, per peer address.
    pub unactivated_per_peer: usize,
    /// How long a session may stay unactivated.
    pub activation: Duration,
    /// Shortest and longest session timeout.
    pub session_timeout: (Duration, Duration),
    /// Requests of one connection that wait for a device or a person's answer.
    pub waiting_per_connection: usize,
    /// Private-key operations at a time.
    pub rsa: usize,
    /// Nodes in one Read.
    pub nodes_per_read: usize,
    /// Nodes in one HistoryRead.
    pub nodes_per_history_read: usize,
    /// Values of one node in one answer to HistoryRead …
    pub history_values: u32,
    /// … and of all nodes.
    pub history_values_in_all: u32,
    /// Nodes in one Write.
    pub nodes_per_write: usize,
    /// Nodes in one Browse or BrowseNext.
    pub nodes_per_browse: usize,
    /// References in one result of Browse.
    pub references_per_node: usize,
    /// Paths in one TranslateBrowsePathsToNodeIds.
    pub paths_per_translate: usize,
    /// Steps of one browse path.
    pub path_elements: usize,
    /// Targets that are followed in one step of a browse path.
    pub path_targets: usize,
    /// Nodes in one RegisterNodes or UnregisterNodes.
    pub nodes_per_register: usize,
    /// Methods in one Call.
    pub methods_per_call: usize,
    /// Refreshes of conditions that one session may have, in such a time.
    pub refreshes: (usize, Duration),
    /// Continuation points of one session.
    pub continuation_points: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Subscriptions of one session.
    pub subscriptions_per_session: usize,
    /// Subscriptions whose session has ended.
    pub orphans: usize,
    /// The same, of one user name or peer address.
    pub orphans_per_user: usize,
    /// Monitored items of one subscription.
    pub items_per_subscription: usize,
    /// Monitored items.
    pub items: usize,
    /// Monitored items in one call.
    pub items_per_call: usize,
    /// Links between triggering items of one subscription.
    pub triggers: usize,
    /// Notifications queued for one item.
    pub queue: u32,
    /// Event items of one subscription; they count as monitored items too.
    pub event_items_per_subscription: usize,
    /// Event items.
    pub event_items: usize,
    /// Events queued for one item: what a client gets that asks for 1, that asks for 0, and at most (Part 4, 7.21).
    pub event_queue: (u32, u32, u32),
    /// Select clauses of an event filter.
    pub select_clauses: usize,
    /// Elements of a where clause.
    pub filter_elements: usize,
    /// Operands of a where clause, all elements together.
    pub filter_operands: usize,
    /// Bytes of all literals of a where clause.
    pub filter_literals: usize,
    /// Items that keep every value between two messages; further ones are sampled.
    pub taps: usize,
    /// Publish requests waiting in one session.
    pub publish_requests: usize,
    /// Messages kept for Republish, per subscription.
    pub retained: usize,
    /// Bytes of messages kept for Republish, per subscription; the newest message is kept in any case.
    pub retained_bytes: usize,
    /// Bytes that wait for the client of one session: notifications, events, messages for Republish …
    pub queued_bytes_per_session: usize,
    /// … and for all of them; beyond it, whoever has more than an equal part gets no more. Every item keeps its last value and every
    /// subscription its last message in any case.
    pub queued_bytes: usize,
    /// Notifications in one message.
    pub notifications: u32,
    /// Shortest and longest publishing interval.
    pub publishing: (Duration, Duration),
    /// Shortest sampling interval of tags.
    pub sampling: Duration,
    /// Shortest sampling interval of everything else, which is made anew at each sample.
    pub other_sampling: Duration,
    /// Longest time for which a subscription outlives its client's silence.
    pub lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            threads: 2,
            connections: 1_000,
            connections_per_peer: 200,
            hello: seconds(5),
            open: seconds(5),
            first_session: seconds(30),
            incoming: seconds(30),
            send: seconds(30),
            receive_chunk: 65_536,
            send_chunk: 65_536,
            early_message: 65_536,
            message: 4 << 20,
            chunks: 512,
            response: 16 << 20,
            token: (seconds(10), seconds(3_600)),
            sessions: 200,
            unactivated_per_peer: 20,
            activation: seconds(10),
            session_timeout: (seconds(10), seconds(3_600)),
            waiting_per_connection: 32,
            rsa: 2,
            nodes_per_read: 10_000,
            nodes_per_history_read: 1_000,
            history_values: 10_000,
            history_values_in_all: 200_000,
            nodes_per_write: 1_000,
            nodes_per_browse: 1_000,
            references_per_node: 10_000,
            paths_per_translate: 1_000,
            path_elements: 64,
            path_targets: 1_000,
            nodes_per_register: 10_000,
            methods_per_call: 10,
            refreshes: (10, seconds(10)),
            continuation_points: 10,
            subscriptions: 1_000,
            subscriptions_per_session: 50,
            orphans: 100,
            orphans_per_user: 20,
            items_per_subscription: 200_000,
            items: 1_000_000,
            items_per_call: 10_000,
            triggers: 10_000,
            queue: 100,
            event_items_per_subscription: 500,
            event_items: 5_000,
            event_queue: (100, 1_000, 10_000),
            select_clauses: 1_000,
            filter_elements: 200,
            filter_operands: 1_000,
            filter_literals: 32_768,
            taps: 20_000,
            publish_requests: 100,
            retained: 100,
            retained_bytes: 16 << 20,
            queued_bytes_per_session: 64 << 20,
            queued_bytes: 256 << 20,
            notifications: 5_000,
            publishing: (Duration::from_millis(10), seconds(60)),
            sampling: Duration::from_millis(10),
            other_sampling: Duration::from_millis(100),
            lifetime: seconds(3_600),
        }
    }
}
