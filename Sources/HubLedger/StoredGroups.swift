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
    /// The last batch that could not be read, which is not tried again for each of its counters.
    private var damaged: (counters: Range<UInt64>, error: any Error)?
    /// Ascending.
    private var groups: [(group: ChangeGroup, outcome: StoredOutcome)] = []

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
        guard counters.contains(counter), let place = place(at: counter) else { return false }
        return self.chain.map { $0.appending(groups[..<place].map(\.group)) == chain } ?? true
    }

    /// - Returns: `nil` when no group starts at the counter, or none that the disk has left
    ///   readable: nobody can tell whether it is the same.
    func group(at counter: UInt64) throws -> (group: ChangeGroup, outcome: StoredOutcome)? {
        try loadReadable(counter)
        return place(at: counter).map { groups[$0] }
    }

    /// The place of the group that starts at a counter.
    private func place(at counter: UInt64) -> Int? {
        let place = groups.partitioningIndex { $0.group.firstCounter >= counter }
        return place < groups.count && groups[place].group.firstCounter == counter ? place : nil
    }

    /// The applied change with a counter.
    func appliedChange(at counter: UInt64) throws -> (record: RecordID, change: Change)? {
        try load(counter)
        guard counters.contains(counter) else { return nil }
        let entry = groups[..<groups.partitioningIndex { $0.group.firstCounter > counter }].last
        guard let entry, entry.outcome.isApplied, counter < entry.group.nextCounter else {
            return nil
        }
        let index = Int(counter - entry.group.firstCounter)
        return (entry.group.record, entry.group.changes[index])
    }

    /// The newest stamp of the applied groups that begin at or below a counter, as far as they
    /// came with it and can be read: a replica's stamps only grow.
    func newestStamp(upTo counter: UInt64) throws -> Int64? {
        try loadReadable(counter)
        return groups.prefix { $0.group.firstCounter <= counter }.flatMap(\.outcome.stamps).max()
    }

    private func loadReadable(_ counter: UInt64) throws {
        _ = try readable { try load(counter) }
    }

    private func load(_ counter: UInt64) throws {
        // A replica that is not stored has none.
        if counters.contains(counter) || replica.row == 0 { return }
        if let damaged, damaged.counters.contains(counter) { throw damaged.error }
        guard let batch = try storage.batch(replicaRow: replica.row, holding: counter) else {
            return
        }
        let range = batch.firstCounter..<batch.nextCounter
        do {
            let content = try StoredContent.decode(batch)
            let outcomes = try StoredOutcome.decode(batch.outcomes)
            guard content.count == outcomes.count else {
                throw LedgerError.damaged("a batch whose outcomes are not its own")
            }
            counters = range
            chain = batch.chain
            groups = zip(content, outcomes).map { ($0, $1) }
                .sorted { $0.group.firstCounter < $1.group.firstCounter }
        } catch {
            damaged = (range, error)
            throw error
        }
    }
}
