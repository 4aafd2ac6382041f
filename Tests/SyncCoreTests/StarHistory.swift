import SyncCore

/// A random history of one ledger and the journals that meet in it, run with the real types.
///
/// Beside the clocks it keeps what they stand for: the set of changes that each writer had really
/// seen when it wrote. So covering can be judged against the truth and not against itself.
struct StarHistory {
    enum LedgerClock: CaseIterable {
        /// Moves on between any two requests by more than a batch has changes.
        case movesOn
        /// May stand still, so that many requests fall into one millisecond.
        case stands
        /// May also step back.
        case stepsBack
    }

    struct Key: Hashable {
        var record: RecordID
        var field: UInt32
    }

    /// A group on its way, with the truth beside it.
    struct Pending {
        var group: ChangeGroup
        /// One number for each change.
        var ids: [Int]
        var seen: Set<Int>
        /// When it was really made; `nil` where the device lies about its clocks.
        var madeMilliseconds: Int64?
    }

    struct Writer {
        var replica: ReplicaID
        var nextCounter: UInt64 = 1
        var base = Position.origin
        var ancestors: [Dot] = []
        var pending: [Pending] = []
        var seen: Set<Int> = []
        var boot: UInt64
        var bootMilliseconds: Int64
        var wallError: Int64
        var isHostile: Bool
    }

    struct Admitted {
        var id: Int
        var key: Key
        var version: Version
        var seen: Set<Int>
        /// The ledger's clock, and the versions of the field that were live, at admission.
        var now: Int64
        var live: [Version]
        var fullClock: VectorClock
    }

    private(set) var generator: SplitMix64
    let ledgerClock: LedgerClock
    private(set) var writers: [Writer] = []
    private(set) var admitted: [Admitted] = []
    private(set) var registers: [Key: Register] = [:]
    private(set) var forkCount = 0
    private(set) var estimateFault: String?

    private var trueMilliseconds: Int64 = 1_750_000_000_000
    private var now: Int64 = 1_750_000_000_000
    private var nextID = 0
    private var line = TermLine()
    /// Indexed by sequence: the greatest counter of each replica and the newest stamp so far.
    private var clockAt: [VectorClock] = [VectorClock()]
    private var newestStampAt: [Int64?] = [nil]
    private var expected: [ReplicaID: UInt64] = [:]
    private var stored: [Dot: ChangeGroup] = [:]
    private var newestOwn: [ReplicaID: Int64] = [:]
    private var offsets: [UInt64: Int64] = [:]

    private var head: UInt64 { UInt64(clockAt.count - 1) }

    init(generator: SplitMix64, stepCount: Int) throws {
        self.generator = generator
        ledgerClock = LedgerClock.allCases.randomElement(using: &self.generator)!
        openTerm()
        for _ in 0..<2 + self.generator.below(3) { addWriter() }
        for _ in 0..<stepCount { try step() }
        for index in writers.indices {
            while !writers[index].pending.isEmpty {
                moveClocks(index)
                try push(index)
            }
        }
    }

    // MARK: - Steps

    private mutating func step() throws {
        let index = generator.below(writers.count)
        moveClocks(index)
        switch generator.below(16) {
        case 0...6: write(index)
        case 7...9: try push(index)
        case 10...12:
            try push(index)
            pull(index)
        case 13: pull(index)
        case 14: if generator.oneIn(3) { openTerm() }
        default:
            // A clone of a journal, or one restored from an older copy: it lives on beside the
            // other, or in its place.
            var copy = writers[index]
            // On another machine, or after a restart: two groups are never equal by chance.
            copy.boot = generator.next()
            copy.bootMilliseconds = trueMilliseconds
            if writers.count < 6 {
                writers.append(copy)
            } else {
                writers[generator.below(writers.count)] = copy
            }
        }
    }

    private mutating func moveClocks(_ index: Int) {
        let passed: Int64 = [0, 0, 1, 7, 1_000, 86_400_000].randomElement(using: &generator)!
        trueMilliseconds += passed
        switch ledgerClock {
        case .movesOn:
            trueMilliseconds += 10_000
            now = trueMilliseconds
        case .stands: now = trueMilliseconds
        case .stepsBack:
            now += passed
            if generator.oneIn(8) { now -= 3_600_000 }
        }
        if generator.oneIn(12) {
            writers[index].boot = generator.next()
            writers[index].bootMilliseconds = trueMilliseconds
        }
        if generator.oneIn(12) { writers[index].wallError = generator.wildNumber() }
    }

    private mutating func addWriter() {
        writers.append(
            Writer(
                replica: .random(using: &generator), boot: generator.next(),
                bootMilliseconds: trueMilliseconds, wallError: generator.wildNumber(),
                isHostile: generator.oneIn(6)))
    }

    private mutating func openTerm() {
        let term = TermID.random(using: &generator)
        line.open(TermLine.Entry(term: term, first: head + 1))
        var clock = clockAt.last!
        clock.observe(Dot(term, head + 1))
        clockAt.append(clock)
        newestStampAt.append(newestStampAt.last!)
    }

    private func clocks(_ writer: Writer) -> ClockReading {
        ClockReading(
            wallMilliseconds: trueMilliseconds.addingSaturated(writer.wallError),
            boot: writer.boot,
            elapsedMilliseconds: trueMilliseconds - writer.bootMilliseconds)
    }

    private mutating func write(_ index: Int) {
        let record = RecordID(
            milliseconds: 0, replica: ReplicaID(truncating: 1), number: UInt64(generator.below(2)))
        let fields = (1...3 as ClosedRange<UInt32>).shuffled(using: &generator)
            .prefix(1 + generator.below(2))
        let changes = fields.map { field in
            Change(field: field, value: generator.oneIn(5) ? nil : [UInt8(generator.below(3))])
        }
        let ids = fields.map { _ in
            nextID += 1
            return nextID
        }
        var written = clocks(writers[index])
        if writers[index].isHostile {
            written.wallMilliseconds = generator.wildNumber()
            written.elapsedMilliseconds = generator.wildNumber()
        }
        let group = ChangeGroup(
            record: record, createdKind: nil, firstCounter: writers[index].nextCounter,
            changes: changes, base: writers[index].base, written: written)
        writers[index].pending.append(
            Pending(
                group: group, ids: ids, seen: writers[index].seen,
                madeMilliseconds: writers[index].isHostile ? nil : trueMilliseconds))
        writers[index].nextCounter = group.nextCounter
        writers[index].seen.formUnion(ids)
    }

    /// The newest complete pull ends at the head.
    private mutating func pull(_ index: Int) {
        writers[index].base = Position(term: line.current, sequence: head)
        writers[index].seen.formUnion(admitted.map(\.id))
        // What the ancestors wrote lies below this base; groups with an older one still need them.
        if writers[index].pending.isEmpty { writers[index].ancestors = [] }
    }

    private mutating func push(_ index: Int) throws {
        let writer = writers[index]
        let sent = Array(writer.pending.prefix(1 + generator.below(4)))
        let judgement = Admission.judge(
            groups: sent.map(\.group), expected: expected[writer.replica] ?? 1,
            deviceNextCounter: writer.nextCounter,
            // Here the hub is never restored.
            isSameBelow: { _ in true },
            stored: { stored[Dot(writer.replica, $0)] })
        switch judgement {
        case .admit(let known):
            for pending in sent.dropFirst(known) { admit(pending, from: writer) }
            offsets[writer.boot] = now.subtractingSaturated(clocks(writer).wallMilliseconds)
            // A lost answer: the same groups come again, and must change nothing.
            if !generator.oneIn(5) { writers[index].pending.removeFirst(sent.count) }
        case .fork(let known, let counter):
            forkCount += 1
            try check(known <= sent.count, "a fork behind the batch")
            fork(index, counter: counter)
        case .expected(let counter):
            throw PropertyFailure(description: "the ledger lost nothing but awaits \(counter)")
        }
    }

    private mutating func admit(_ pending: Pending, from writer: Writer) {
        let group = pending.group
        let base = line.cut(group.base, head: head)
        let estimate = WriteTimeEstimate(
            written: group.written, sent: clocks(writer), hub: now,
            measuredOffset: offsets[group.written.boot])
        if estimate.basis == .elapsed, ledgerClock != .stepsBack,
            let made = pending.madeMilliseconds, estimate.milliseconds != made
        {
            estimateFault = "made at \(made), estimated \(estimate.milliseconds)"
        }
        let own = ([writer.replica] + writer.ancestors.map(\.replica))
            .compactMap { newestOwn[$0] }.max()
        for (offset, change) in group.changes.enumerated() {
            let dot = Dot(writer.replica, group.firstCounter + UInt64(offset))
            let key = Key(record: group.record, field: change.field)
            var version = Version(
                value: change.value, stamp: Stamp(milliseconds: 0, dot: dot),
                sequence: head + 1, clock: ShortClock(base: base, ancestors: writer.ancestors))
            let register = registers[key] ?? Register()
            version.stamp.milliseconds = StampLaw.milliseconds(
                estimate: estimate.milliseconds, newestSeen: newestStampAt[Int(base)],
                newestOwn: own, newestCovered: register.newestCovered(by: version), now: now)
            admitted.append(
                Admitted(
                    id: pending.ids[offset], key: key, version: version,
                    seen: pending.seen.union(pending.ids.prefix(offset)), now: now,
                    live: register.versions,
                    fullClock: version.clock.expanded(
                        for: dot, term: line.term(at: base), admitted: clockAt[Int(base)])))
            registers[key, default: Register()].insert(version)
            var clock = clockAt.last!
            clock.observe(dot)
            clock.observe(Dot(line.current, head + 1))
            clockAt.append(clock)
            let milliseconds = version.stamp.milliseconds
            newestStampAt.append(max(newestStampAt.last! ?? .min, milliseconds))
            newestOwn[writer.replica] = max(newestOwn[writer.replica] ?? .min, milliseconds)
        }
        stored[Dot(writer.replica, group.firstCounter)] = group
        expected[writer.replica] = group.nextCounter
    }

    /// The journal goes on as a new replica; what it wrote from `counter` on gets new names.
    private mutating func fork(_ index: Int, counter: UInt64) {
        let old = writers[index].replica
        let new = ReplicaID.random(using: &generator)
        if counter > 1 { writers[index].ancestors.append(Dot(old, counter - 1)) }
        writers[index].ancestors.sort()
        writers[index].replica = new
        var next: UInt64 = 1
        var renamed: [Int: Int] = [:]
        var pending = writers[index].pending
        pending.removeAll { $0.group.firstCounter < counter }
        for position in pending.indices {
            pending[position].group.firstCounter = next
            next = pending[position].group.nextCounter
            pending[position].seen = Set(pending[position].seen.map { renamed[$0] ?? $0 })
            for offset in pending[position].ids.indices {
                nextID += 1
                renamed[pending[position].ids[offset]] = nextID
                pending[position].ids[offset] = nextID
            }
        }
        writers[index].pending = pending
        writers[index].nextCounter = next
        writers[index].seen = Set(writers[index].seen.map { renamed[$0] ?? $0 })
    }
}
