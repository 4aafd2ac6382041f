import SyncCore

/// Finds what became of a replica's earlier groups, by their first counter.
///
/// Keeps the batch that it read last, since a retry asks for its groups one after the other, and
/// each of them would otherwise cost inflating the whole batch.
final class StoredGroups {
    private let storage: any LedgerStorage
    private let replica: ReplicaRow
    private var counters: Range<UInt64> = 0..<0
    /// Of all below ``counters``.
    private var chain: HashChain?
    private var groups: [UInt64: (group: ChangeGroup, outcome: StoredOutcome)] = [:]

    init(storage: any LedgerStorage, of replica: ReplicaRow) {
        self.storage = storage
        self.replica = replica
    }

    /// Whether a chain is that of all that is here below a counter.
    ///
    /// What an older program admitted has none, and then the word of the device is taken.
    func isSame(_ chain: HashChain, below counter: UInt64) throws -> Bool {
        if counter == replica.nextCounter { return replica.chain.map { $0 == chain } ?? true }
        try loadReadable(counter)
        // In a gap nothing is here, and nothing starts within a group.
        guard counters.contains(counter), groups[counter] != nil else { return false }
        let before = groups.values.lazy.map(\.group).filter { $0.firstCounter < counter }
            .sorted { $0.firstCounter < $1.firstCounter }
        return self.chain.map { $0.appending(before) == chain } ?? true
    }

    /// - Returns: `nil` when no group starts at the counter, or none that the disk has left
    ///   readable: nobody can tell whether it is the same.
    func group(at counter: UInt64) throws -> (group: ChangeGroup, outcome: StoredOutcome)? {
        try loadReadable(counter)
        return groups[counter]
    }

    /// The applied change with a counter.
    func appliedChange(at counter: UInt64) throws -> (record: RecordID, change: Change)? {
        try load(counter)
        guard counters.contains(counter) else { return nil }
        for entry in groups.values where entry.outcome.isApplied {
            if (entry.group.firstCounter..<entry.group.nextCounter).contains(counter) {
                let index = Int(counter - entry.group.firstCounter)
                return (entry.group.record, entry.group.changes[index])
            }
        }
        return nil
    }

    /// The newest stamp of the applied groups that begin at or below a counter, as far as they
    /// came with it and can be read: a replica's stamps only grow.
    func newestStamp(upTo counter: UInt64) throws -> Int64? {
        try loadReadable(counter)
        return groups.filter { $0.key <= counter }.values.flatMap(\.outcome.stamps).max()
    }

    private func loadReadable(_ counter: UInt64) throws {
        _ = try readable { try load(counter) }
    }

    private func load(_ counter: UInt64) throws {
        // A replica that is not stored has none.
        if counters.contains(counter) || replica.row == 0 { return }
        guard let batch = try storage.batch(replicaRow: replica.row, holding: counter) else {
            return
        }
        let content = try StoredContent.decode(batch)
        let outcomes = try StoredOutcome.decode(batch.outcomes)
        guard content.count == outcomes.count else {
            throw LedgerError.damaged("a batch whose outcomes are not its own")
        }
        counters = batch.firstCounter..<batch.nextCounter
        chain = batch.chain
        groups.removeAll()
        for (group, outcome) in zip(content, outcomes) {
            groups[group.firstCounter] = (group, outcome)
        }
    }
}
