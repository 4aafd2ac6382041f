package import NeedModel
import SQLiteStore
package import SyncCore
package import WireFormat

#if canImport(Glibc)
    import Glibc
#endif

/// The hub's durable state: admits what devices bring, and serves what they may hold.
///
/// Calls block and belong to one thread. Several processes may use one ledger (the operator's
/// commands work while the server runs): head, terms and reference data are read inside each
/// transaction and never kept across it.
///
/// - SeeAlso: `protocol/SPEC.md` §4 and §6.
package final class Ledger {
    let storage: any LedgerStorage
    /// Counters beyond it cannot be sent in a batch either.
    private static let counterMax: UInt64 = 1 << 62
    private let clock: () -> Int64
    private let schema: SchemaLevel
    private var random: RandomSource
    /// Keeps the file from being replaced; `nil` where it is in no file system.
    private let use: LedgerUse?
    /// Whether this process has opened its term; it does so with its first admitted change, and
    /// again with the first after a commit that failed.
    private var hasTerm = false
    /// Last-sync times that are not stored yet: an empty sync is not worth a commit of its own.
    private var pendingSyncNotes: SyncNotes = [:]
    /// How many replicas that never wrote here were stored since this start because a device named
    /// them as writers of what it brought back.
    private var namedReplicas: [Int64: Int] = [:]

    /// Creates a ledger; the file must not exist. When this fails, it still does not.
    package static func create(
        at path: String, banner: String, name: String, offsetMinutes: Int,
        clock: @escaping () -> Int64, vfs: String? = nil
    ) throws {
        func requireNoFile() throws {
            guard vfs == nil else { return }
            // A log without its ledger may hold the last commits of one that was moved away.
            if let file = DatabaseFile.all(of: path).first(where: { access($0, F_OK) == 0 }) {
                throw LedgerError.file(
                    "there is a file at \(file) already", hint: "choose another path")
            }
        }
        try requireNoFile()
        guard !banner.isEmpty, !name.isEmpty, abs(offsetMinutes) <= 14 * 60 else {
            throw LedgerError.invalid(
                "a ledger needs a banner code, a name and an offset within 14 hours",
                hint: "for example --banner 152921 --name 乌拉特 --offset +08:00")
        }
        let use = vfs == nil ? try LedgerUse(alone: path) : nil
        defer { withExtendedLifetime(use) {} }
        // Once more: another process may have been faster to the lock.
        try requireNoFile()
        do {
            let storage = try SQLiteLedgerStorage(path: path, creates: true, vfs: vfs)
            try storage.transaction {
                try storage.initialize(
                    LedgerSettings(banner: banner, name: name, offsetMinutes: offsetMinutes))
            }
        } catch {
            // Nothing was there, and nobody else makes anything under the lock: it is all ours.
            if vfs == nil { DatabaseFile.remove(path) }
            throw error
        }
        if vfs == nil { DatabaseFile.giveAway(path) }
    }

    /// Opens a ledger that exists.
    ///
    /// - Parameters:
    ///   - clock: Milliseconds since 1970.
    ///   - schema: What the program knows; devices offer anew what a lower level refused.
    ///   - random: Names terms, records and orders; the simulator passes a seeded one.
    ///   - vfs: A registered SQLite VFS that holds the file; `nil` for the file system.
    package convenience init(
        opening path: String, clock: @escaping () -> Int64, schema: SchemaLevel = .current,
        random: RandomSource = .system, vfs: String? = nil
    ) throws {
        guard vfs != nil || access(path, F_OK) == 0 || errno != ENOENT else {
            throw LedgerError.file(
                "there is no ledger at \(path)", hint: "waystation-server init makes one")
        }
        let use = vfs == nil ? try LedgerUse(sharing: path) : nil
        self.init(
            storage: try SQLiteLedgerStorage(path: path, creates: false, vfs: vfs), clock: clock,
            schema: schema, random: random, use: use)
        _ = try info()
    }

    init(
        storage: any LedgerStorage, clock: @escaping () -> Int64,
        schema: SchemaLevel = .current, random: RandomSource, use: LedgerUse? = nil
    ) {
        self.storage = storage
        self.use = use
        self.clock = clock
        self.schema = schema
        self.random = random
    }

    package func info() throws -> LedgerInfo {
        try storage.snapshot {
            let settings = try storage.settings()
            return LedgerInfo(
                banner: settings.banner, name: settings.name,
                offsetMinutes: settings.offsetMinutes, term: try storage.terms().current,
                head: try storage.head())
        }
    }

    // MARK: Transactions that admit

    /// What one transaction knows and moves on.
    private final class Session {
        var terms: TermLine
        var head: UInt64
        let now: Int64
        let settings: LedgerSettings
        var openedTerm = false

        /// The ledger's newest.
        var position: Position { Position(term: terms.term(at: head), sequence: head) }

        init(terms: TermLine, head: UInt64, now: Int64, settings: LedgerSettings) {
            self.terms = terms
            self.head = head
            self.now = now
            self.settings = settings
        }
    }

    private func write<R>(_ body: (Session) throws -> R) throws -> R {
        var opened = false
        do {
            let result = try storage.transaction {
                let session = Session(
                    terms: try storage.terms(), head: try storage.head(), now: clock(),
                    settings: try storage.settings())
                let result = try body(session)
                opened = session.openedTerm
                return result
            }
            if opened { hasTerm = true }
            return result
        } catch {
            // A copy that is made of the disk before the next commit may hold this one. What that
            // stores must not have the same positions.
            if storage.mayHoldFailedCommit { hasTerm = false }
            throw error
        }
    }

    /// Opens this process's term unless it has one: an event of its own in the sequence, so that
    /// no two starts of a ledger, one of them from a backup, ever give out the same position; nor
    /// do a commit that failed, and lies in a backup, and the next one.
    private func openTerm(_ session: Session) throws {
        if hasTerm || session.openedTerm { return }
        let term = TermID.random(using: &random)
        let first = session.head + 1
        session.terms.open(TermLine.Entry(term: term, first: first))
        try storage.appendTerm(
            TermLine.Entry(term: term, first: first), openedMilliseconds: session.now)
        let row = try storage.insertReplica(
            ReplicaRow(id: term, device: nil, nextCounter: first + 1))
        _ = try storage.appendBatch(
            BatchRow(
                firstSequence: first, lastSequence: first, replicaRow: row, firstCounter: first,
                nextCounter: first + 1, receivedMilliseconds: session.now,
                newestStamp: try storage.newestStamp(atOrBelow: session.head),
                content: StoredContent.encode([]), outcomes: StoredOutcome.encode([]),
                touched: TouchedRecords().encoded()))
        session.head = first
        session.openedTerm = true
    }

    // MARK: Events

    /// Opens a term for a ledger that is being put back from a backup, and remembers that it was:
    /// devices are ahead of it from now on.
    func noteRestored() throws {
        try write { session in
            let shared = session.head
            try openTerm(session)
            try storage.appendEvent(
                LedgerEvent(
                    kind: .restored, milliseconds: session.now, term: session.terms.current,
                    sequence: shared))
        }
    }

    /// Remembers, once for each foreign term, that a device came with a place off this line.
    ///
    /// - Parameter tellsEach: Also of those after the first: what it let them do is to be seen.
    private func noteAhead(
        _ place: Position, device: Int64, tellsEach: Bool = false, session: Session,
        figures: inout SyncFigures
    ) throws {
        guard
            try !storage.events().contains(where: {
                $0.kind == .deviceAhead && $0.term == place.term
                    && (!tellsEach || $0.device == device)
            })
        else { return }
        let event = LedgerEvent(
            kind: .deviceAhead, milliseconds: session.now, term: place.term,
            sequence: place.sequence, device: device)
        try storage.appendEvent(event)
        // A device that makes up terms crowds out none but its own.
        try storage.forgetEvents(
            .deviceAhead, device: device, keepingNewest: LedgerLimits.aheadEventsPerDeviceMax)
        figures.events.append(event)
    }

    /// Remembers, once for each, records that are not served because the disk has altered them.
    private func noteAltered(
        _ records: Set<UInt64>, session: Session, figures: inout SyncFigures
    ) throws {
        if records.isEmpty { return }
        var known = Set(
            try storage.events().filter { $0.kind == .recordAltered }.map(\.sequence))
        for sequence in records.sorted()
        where known.count < LedgerLimits.alteredEventsMax && known.insert(sequence).inserted {
            let event = LedgerEvent(
                kind: .recordAltered, milliseconds: session.now,
                term: session.terms.term(at: sequence), sequence: sequence)
            try storage.appendEvent(event)
            figures.events.append(event)
        }
    }

    /// What befell the ledger as a whole, oldest first.
    package func events() throws -> [LedgerEvent] { try storage.snapshot { try storage.events() } }

    /// Lets the hub itself write; what it writes is never refused, or nothing of it is stored.
    private func admitOwn(
        _ session: Session, _ changes: [(record: RecordID, createdKind: Kind?, [Change])]
    ) throws {
        guard !changes.isEmpty else { return }
        let row = try hubReplica(session)
        let clocks = ClockReading(wallMilliseconds: session.now, boot: 0, elapsedMilliseconds: 0)
        let admitter = try admitter(
            for: Writer(
                replica: row, device: nil, scope: .empty, namingReplicas: [row.id],
                clocks: clocks), session: session)
        for (record, createdKind, fields) in changes {
            try admitter.admit(
                ChangeGroup(
                    record: record, createdKind: createdKind?.rawValue,
                    firstCounter: admitter.nextSequence, changes: fields,
                    base: Position(
                        term: session.terms.current, sequence: admitter.nextSequence - 1),
                    written: clocks))
            if case .rejected(_, _, let reason) = admitter.outcomes.last?.outcome {
                throw LedgerError.invalid(reason, hint: "look at the territory and the teams")
            }
        }
        session.head = try admitter.finish().head
    }

    /// The replica under which the hub writes: its term, which is opened for that.
    private func hubReplica(_ session: Session) throws -> ReplicaRow {
        try openTerm(session)
        guard let row = try storage.replica(session.terms.current) else {
            throw LedgerError.damaged("a term without its replica")
        }
        return row
    }

    /// - Parameter frame: What brought a device's groups.
    private func admitter(
        for writer: Writer, frame: [UInt8]? = nil, session: Session
    ) throws -> Admitter {
        try Admitter(
            storage: storage, terms: session.terms, head: session.head, now: session.now,
            schema: schema, writer: writer, frame: frame)
    }

    /// A record id that the hub may give: of its current term.
    private func newRecordID(_ session: Session, number: UInt64) -> RecordID {
        RecordID(
            milliseconds: session.now, replica: session.terms.current,
            number: number & RecordID.numberMask)
    }

    // MARK: Devices

    /// - Throws: ``LedgerError/tokenUnknown`` for a token that was never given out or was replaced
    ///   by a newer one, ``LedgerError/revoked``.
    package func recognise(token: String) throws -> Device {
        try storage.snapshot { try recognise(.token(token)) }
    }

    /// Trades an invite's code for a token.
    ///
    /// A journal that was enrolled before, by the same person in the same place, goes on as the
    /// same device with a new token; any other journal becomes a new device, and if its replica is
    /// another device's, it is told to go on under a new one. A replica that is only known because
    /// others brought back what it wrote is nobody's yet, and so may be this journal's.
    package func enroll(_ request: EnrollRequest) throws -> EnrollAnswer {
        try write { session in
            let hash = Secrets.hash(request.code.uppercased())
            guard let invite = try storage.invite(codeHash: hash) else {
                throw LedgerError.codeUnknown
            }
            if invite.expiresMilliseconds <= session.now, invite.usedMilliseconds == nil {
                throw LedgerError.codeExpired
            }
            if invite.usedMilliseconds != nil {
                return try repeatEnrolment(invite, request, session: session)
            }
            let replica =
                request.replica == .none ? nil : try storage.replica(request.replica)
            // A journal that has sent nothing yet is only known from its enrolment.
            let formerID =
                try replica?.device ?? storage.device(enrolledWith: request.replica)
            let former = try formerID.flatMap { try storage.device($0)?.device }
            let token = Secrets.token()
            let id: Int64
            var forkCounter: UInt64?
            if let former, former.name == invite.name, former.role == invite.role,
                former.territory == invite.territory, former.team == invite.team
            {
                id = former.id
                try storage.renewDevice(id, tokenHash: Secrets.hash(token))
            } else {
                id = try storage.insertDevice(
                    DeviceRow(
                        device: Device(
                            id: 0, name: invite.name, role: invite.role,
                            territory: invite.territory, team: invite.team, isRevoked: false),
                        enrolledMilliseconds: session.now, lastSequence: 0, refusedGroups: 0,
                        lostChanges: 0), tokenHash: Secrets.hash(token))
                forkCounter = replica?.device == nil ? nil : replica?.nextCounter
            }
            try storage.useInvite(
                codeHash: hash, device: id, replica: request.replica,
                atMilliseconds: session.now)
            guard let row = try storage.device(id) else {
                throw LedgerError.damaged("a device that was just stored is missing")
            }
            let scope = try scope(of: row.device)
            try noteScope(scope, device: id, session: session)
            return EnrollAnswer(
                token: token,
                assignment: assignment(of: row.device, scope: scope, session: session),
                forkCounter: forkCounter)
        }
    }

    /// The answer to an enrolment may be lost on the way; then the same journal asks again with the
    /// same code. It gets a token anew as long as the device has not synced.
    private func repeatEnrolment(
        _ invite: InviteRow, _ request: EnrollRequest, session: Session
    ) throws -> EnrollAnswer {
        guard let id = invite.device, request.replica != .none,
            invite.replica == request.replica, pendingSyncNotes[id] == nil,
            let row = try storage.device(id), row.lastSyncMilliseconds == nil,
            !row.device.isRevoked, invite.expiresMilliseconds > session.now
        else { throw LedgerError.codeUsed }
        let token = Secrets.token()
        try storage.renewDevice(id, tokenHash: Secrets.hash(token))
        let replica = try storage.replica(request.replica)
        let isForeign = replica?.device.map { $0 != id } ?? false
        return EnrollAnswer(
            token: token,
            assignment: assignment(
                of: row.device, scope: try scope(of: row.device), session: session),
            forkCounter: isForeign ? replica?.nextCounter : nil)
    }

    func scope(of device: Device) throws -> Scope {
        var buckets: [Bucket] = [.reference, .recordedBy(device: device.id)]
        switch device.role {
        case .team: buckets.append(.team(device.team))
        case .worker, .office:
            buckets += try storage.grids(within: device.territory).map { .grid($0) }
        }
        return Scope(buckets)
    }

    /// Remembers what scope a device has as of the head. Also when it need not be told: the answer
    /// that told it of another may be lost, and that other one be over by now.
    private func noteScope(_ scope: Scope, device: Int64, session: Session) throws {
        if try storage.newestScopeID(device: device) != scope.id {
            try storage.appendScope(scope, device: device, sequence: session.head)
        }
    }

    private func assignment(of device: Device, scope: Scope, session: Session) -> Assignment {
        Assignment(
            device: device.id, deviceName: device.name, role: device.role,
            territory: device.territory, team: device.team, banner: session.settings.name,
            offsetMinutes: session.settings.offsetMinutes, scope: scope)
    }

    package func devices() throws -> [DeviceReport] {
        try storage.snapshot {
            let head = try storage.head()
            return try storage.devices().map { row in
                let pending = pendingSyncNotes[row.device.id]
                return DeviceReport(
                    device: row.device, enrolledMilliseconds: row.enrolledMilliseconds,
                    lastSyncMilliseconds: pending?.milliseconds ?? row.lastSyncMilliseconds,
                    behind: head - min(head, pending?.sequence ?? row.lastSequence),
                    refusedGroups: row.refusedGroups, lostChanges: row.lostChanges)
            }
        }
    }

    package func revoke(device id: Int64) throws {
        try storage.transaction {
            guard try storage.device(id) != nil else {
                throw LedgerError.notFound("device \(id)", hint: "devices shows the numbers")
            }
            try storage.revokeDevice(id, atMilliseconds: clock())
        }
    }

    /// Makes a one-use code, and stores its hash.
    ///
    /// - Returns: Four groups of four characters, then, when the server has a certificate of its
    ///   own, `P` and 52 characters of base 32: the SHA-256 of its public key.
    package func invite(
        role: Role, territory: String?, team: String?, name: String, lifetimeSeconds: Int64
    ) throws -> String {
        try storage.transaction {
            guard !name.isEmpty, name.utf8.count <= 256 else {
                throw LedgerError.invalid(
                    "a device needs a name of at most 256 bytes", hint: "give --name")
            }
            guard (1...LedgerLimits.inviteSecondsMax).contains(lifetimeSeconds) else {
                throw LedgerError.invalid(
                    "a code lives for a second at least and a year at most",
                    hint: "for example 72 hours")
            }
            switch role {
            case .team:
                guard let team, territory == nil, try storage.team(team) != nil else {
                    throw LedgerError.invalid(
                        "a team's device needs the id of a team that was imported, and no "
                            + "territory", hint: "give --team, after importing the teams")
                }
            case .worker, .office:
                guard let territory, team == nil, try storage.territory(territory) != nil else {
                    throw LedgerError.invalid(
                        "a worker's or an office's device needs the code of a territory that was "
                            + "imported, and no team",
                        hint: "give --territory, after importing the territory")
                }
            }
            let code = Secrets.inviteCode()
            try storage.insertInvite(
                InviteRow(
                    name: name, role: role, territory: territory ?? "", team: team ?? "",
                    expiresMilliseconds: clock() + lifetimeSeconds * 1_000),
                codeHash: Secrets.hash(code))
            let key = try storage.settings().serverKey
            return code + (key.map { "-P" + Secrets.base32Text($0) } ?? "")
        }
    }

    /// Remembers the SHA-256 of the public key that devices are to pin; `nil` without TLS.
    package func setServerKey(_ sha256: [UInt8]?) throws {
        precondition(sha256 == nil || sha256?.count == 32, "a SHA-256 has 32 bytes")
        try storage.transaction { try storage.setServerKey(sha256) }
    }

    // MARK: Sync

    /// Admits the batches of several requests, and serves a page to each, in one durable commit.
    ///
    /// - Parameter requests: Each with the device that sent it, and the frame that brought it,
    ///   which is what is kept of an admitted batch.
    /// - Returns: An answer or an error for each request, in order. What the disk made of a row is
    ///   an error of those requests that need the row. An error that concerns the ledger as a whole
    ///   (its disk, its file) is thrown, and nothing of any request is stored.
    package func sync(
        _ requests: [(device: Int64, request: SyncRequest, frame: [UInt8])]
    ) throws -> (answers: [Result<SyncAnswer, any Error>], figures: SyncFigures) {
        var rest = requests[...]
        let (replies, figures) = try sync(
            next: { _ in
                rest.popFirst().map {
                    SyncCall(
                        caller: .device($0.device), request: .success($0.request),
                        frame: $0.frame)
                }
            }, message: { answer, _ in answer })
        return (replies.map(\.message), figures)
    }

    /// A request, and who sends it.
    package struct SyncCall {
        package enum Caller {
            case device(Int64)
            case token(String)
        }

        package var caller: Caller
        /// Or why it cannot be read, which only a device hears that is enrolled here.
        package var request: Result<SyncRequest, any Error>
        /// What brought the request.
        package var frame: [UInt8]

        package init(
            caller: Caller, request: Result<SyncRequest, any Error>, frame: [UInt8]
        ) {
            self.caller = caller
            self.request = request
            self.frame = frame
        }
    }

    /// What became of one call.
    package struct SyncReply<Message: Sendable>: Sendable {
        /// Known once its caller was recognised.
        package var device: Int64?
        package var message: Result<Message, any Error>

        package init(device: Int64?, message: Result<Message, any Error>) {
            self.device = device
            self.message = message
        }
    }

    /// The same, with callers recognised in the same transaction, so that a device that was revoked
    /// stores nothing any more; and with each answer turned into what is sent before the next one
    /// is made: a page's records take ten times the memory of its bytes.
    ///
    /// - Parameters:
    ///   - next: Asked for one call after the other until there is none, then all is committed. It
    ///     is told whether there will be something to store, so that a commit costs time.
    ///   - message: What is sent.
    /// - Returns: A reply to each call, in order.
    package func sync<Message: Sendable>(
        next: (_ storesSomething: Bool) -> SyncCall?,
        message: (SyncAnswer, SyncRequest) -> Message
    ) throws -> (replies: [SyncReply<Message>], figures: SyncFigures) {
        var figures = SyncFigures()
        var notes: SyncNotes = [:]
        var areNotesStored = false
        let replies = try write { session in
            var replies: [SyncReply<Message>] = []
            while let call = next(figures.batches > 0) {
                replies.append(
                    try reply(
                        to: call, session: session, figures: &figures, notes: &notes,
                        message: message))
            }
            // They ride on a commit that is made anyway, so a push costs one and not two.
            if figures.batches > 0
                || pendingSyncNotes.count + notes.count > LedgerLimits.pendingSyncNotesMax
            {
                try store(pendingSyncNotes.merging(notes) { $1 })
                areNotesStored = true
            }
            return replies
        }
        if areNotesStored {
            pendingSyncNotes.removeAll()
        } else {
            pendingSyncNotes.merge(notes) { $1 }
        }
        return (replies, figures)
    }

    private typealias SyncNotes = [Int64: (milliseconds: Int64, sequence: UInt64)]

    /// - Throws: An error that concerns the ledger as a whole.
    private func reply<Message: Sendable>(
        to call: SyncCall, session: Session, figures: inout SyncFigures, notes: inout SyncNotes,
        message: (SyncAnswer, SyncRequest) -> Message
    ) throws -> SyncReply<Message> {
        let before = (session.head, session.terms, session.openedTerm)
        let namedBefore = storage.namedReplicaCount
        var caller: Int64?
        defer {
            let named = storage.namedReplicaCount - namedBefore
            if named > 0, let caller { namedReplicas[caller, default: 0] += named }
        }
        do {
            let device = try recognise(call.caller)
            caller = device.id
            let request: SyncRequest
            switch call.request {
            case .success(let read): request = read
            case .failure(let error): return SyncReply(device: caller, message: .failure(error))
            }
            var own = SyncFigures()
            let answer = try storage.savepoint {
                try self.answer(
                    request, frame: call.frame, device: device, session: session, figures: &own)
            }
            figures.add(own)
            // With the last page the device has everything up to its cursor; should the answer be
            // lost, the next request says so.
            let reached =
                answer.page?.cursor?.sequence
                ?? session.terms.cut(request.cursor, head: session.head)
            notes[device.id] = (session.now, reached)
            return SyncReply(device: caller, message: .success(message(answer, request)))
        } catch let error as LedgerError where !error.concernsWholeLedger {
            (session.head, session.terms, session.openedTerm) = before
            return SyncReply(device: caller, message: .failure(error))
        }
    }

    /// - Throws: ``LedgerError/tokenUnknown`` or ``LedgerError/revoked``.
    private func recognise(_ caller: SyncCall.Caller) throws -> Device {
        let row =
            switch caller {
            case .device(let id): try storage.device(id)
            case .token(let token): try storage.device(tokenHash: Secrets.hash(token))
            }
        // Devices are revoked, never removed.
        guard let device = row?.device else { throw LedgerError.tokenUnknown }
        if device.isRevoked { throw LedgerError.revoked }
        return device
    }

    /// Stores the last-sync times that are kept in memory.
    package func flush() throws {
        guard !pendingSyncNotes.isEmpty else { return }
        try storage.transaction { try store(pendingSyncNotes) }
        pendingSyncNotes.removeAll()
    }

    /// Finds out whether anything can be stored, by a durable commit that changes nothing.
    ///
    /// - Throws: ``LedgerError/disk(_:hint:)`` if not.
    package func tryToStore() throws {
        try storage.transaction { try storage.tryToStore() }
    }

    private func store(_ notes: SyncNotes) throws {
        for (device, note) in notes.sorted(by: { $0.key < $1.key }) {
            try storage.noteSync(
                device: device, atMilliseconds: note.milliseconds, sequence: note.sequence)
        }
    }

    private func answer(
        _ request: SyncRequest, frame: [UInt8], device: Device, session: Session,
        figures: inout SyncFigures
    ) throws -> SyncAnswer {
        let id = device.id
        let scope = try scope(of: device)
        try measureBoot(request, device: id, session: session)
        // It may hold what no pull contained yet. Only if its pull ends in another term than the one
        // before does it look whether all of that is here.
        if request.chain != nil || request.ancestors.contains(where: { $0.dot.counter > 0 }) {
            try openTerm(session)
        }
        var answer = SyncAnswer(
            attempt: request.attempt, hubMilliseconds: session.now, schema: schema.number)
        if !session.terms.contains(request.cursor, head: session.head) {
            // The device pulled from a ledger that was since put back to before that.
            try noteAhead(request.cursor, device: id, session: session, figures: &figures)
            guard let recovery = request.recovery, recovery.confirmed != .origin,
                recovery.reached.last == request.cursor,
                session.terms.contains(recovery.confirmed, head: session.head)
            else {
                // Its own term shows in the line, so nothing that comes back can be lost unseen.
                try openTerm(session)
                answer.line = session.terms.entries.suffix(Limits.lineTermsMax)
                answer.recovered = session.position
                return answer
            }
            if !recovery.records.isEmpty {
                let count = try bringBack(
                    recovery, request: request, device: device, session: session)
                if count > 0 { figures.brought.append((id, count)) }
                answer.recovered = session.position
                return answer
            }
            answer.recovered = session.position
        }
        let admitted = try admit(
            request, frame: frame, device: device, scope: scope, session: session)
        answer.outcomes = admitted.outcomes
        figures.add(admitted.figures)

        let feed = Feed(
            storage: storage, terms: session.terms, head: session.head, device: device,
            scope: scope)
        let served = try feed.serve(request, sent: admitted.sent)
        answer.page = served.page
        try noteAltered(served.alteredRecords, session: session, figures: &figures)
        if served.needsAssignment {
            answer.assignment = assignment(of: device, scope: scope, session: session)
        }
        try noteScope(scope, device: id, session: session)
        return answer
    }

    /// Takes in what a device still holds of what a restore lost.
    ///
    /// - Returns: How many changes were new.
    private func bringBack(
        _ recovery: SyncRequest.Recovery, request: SyncRequest, device: Device, session: Session
    ) throws -> Int {
        guard !hasNamedTooMany(device.id) else {
            throw LedgerError.invalid(
                "this device has named more than \(LedgerLimits.namedReplicasPerDeviceMax) "
                    + "writers that are unknown here",
                hint: "if that many are lost, start the hub anew; otherwise revoke the device")
        }
        // Who claims to have pulled in one would have seen all that its writer will ever write.
        for position in recovery.reached
        where try storage.replica(position.term)?.device != nil {
            throw LedgerError.invalid(
                "a place in a term that is a device's replica", hint: "revoke the device")
        }
        // Whoever is told of what comes back is told who wrote it.
        var replica = try storage.replica(request.replica) ?? ReplicaRow(id: request.replica)
        if replica.device == nil, try bind(&replica, request, device: device, session: session) {
            try store(&replica)
        }
        let admitter = try bringer(request, device: device, session: session)
        let lost = LostPart(
            reached: recovery.reached, line: session.terms, head: session.head)
        try admitter.bring(recovery.records, lost: lost)
        session.head = try admitter.finish().head
        try admitter.storeBroughtReferences()
        return admitter.brought.count
    }

    /// Writes in the hub's name what a device brought.
    private func bringer(
        _ request: SyncRequest, device: Device, session: Session
    ) throws -> Admitter {
        let row = try hubReplica(session)
        return try admitter(
            for: Writer(
                replica: row, device: device, scope: .empty,
                namingReplicas: try namingReplicas(
                    request, replica: request.replica, device: device, terms: session.terms),
                clocks: request.clocks), session: session)
    }

    private func hasNamedTooMany(_ device: Int64) -> Bool {
        namedReplicas[device, default: 0] >= LedgerLimits.namedReplicasPerDeviceMax
    }

    /// Remembers how wrong the device's wall clock is in this boot, for changes that it made in
    /// this boot and will send from a later one.
    private func measureBoot(
        _ request: SyncRequest, device: Int64, session: Session
    ) throws {
        guard request.clocks.boot != 0 else { return }
        let offset = session.now.subtractingSaturated(request.clocks.wallMilliseconds)
        let known = try storage.bootOffset(device: device, boot: request.clocks.boot)
        if let known, abs(offset.subtractingSaturated(known).clampedForAbs) < 2_000 { return }
        try storage.setBootOffset(
            offset, device: device, boot: request.clocks.boot, atMilliseconds: session.now)
    }

    private struct Admitted {
        var outcomes: Outcomes?
        /// The counters of this request whose values the device need not be sent back.
        var sent: Range<UInt64>?
        var figures = SyncFigures()
    }

    /// Makes a replica the device's own, unless it is another's or one of the ledger's terms.
    ///
    /// - Returns: Whether it is the device's.
    private func bind(
        _ replica: inout ReplicaRow, _ request: SyncRequest, device: Device, session: Session
    ) throws -> Bool {
        if let owner = replica.device {
            if owner != device.id { return false }
            // Its first batch names its ancestors, and that may still be to come.
            if replica.nextCounter > 1 { return true }
        } else if session.terms.contains(replica.id) {
            return false
        }
        let wasNamedByOthers = replica.row != 0 && replica.device == nil
        replica.device = device.id
        (replica.ancestors, replica.newestStamp) = try inherit(
            request.ancestors, device: device.id)
        if wasNamedByOthers {
            try store(&replica)
            if try storage.hasBrought() {
                // Whoever has pulled what others brought back was not told who wrote it.
                let admitter = try bringer(request, device: device, session: session)
                try admitter.touchBrought(of: replica.id)
                session.head = try admitter.finish().head
            }
        }
        return true
    }

    private func admit(
        _ request: SyncRequest, frame: [UInt8], device: Device, scope: Scope, session: Session
    ) throws -> Admitted {
        var replica =
            try storage.replica(request.replica) ?? ReplicaRow(id: request.replica)
        let first = request.groups.first?.firstCounter ?? request.nextCounter
        guard try bind(&replica, request, device: device, session: session) else {
            // Two devices drew one replica, or a journal was copied to another person's machine.
            return Admitted(outcomes: Outcomes(settledCounter: first, forkCounter: first))
        }
        // A gap that begins elsewhere answers the ledger as it was before it was restored once
        // more: then the device may well hold what lies between.
        if let gap = request.gap, let chain = request.chain,
            gap.counters.lowerBound == replica.nextCounter, gap.counters.upperBound == first,
            !gap.counters.isEmpty, first <= min(request.nextCounter, Self.counterMax)
        {
            guard replica.chain ?? gap.chain == gap.chain else {
                return Admitted(outcomes: Outcomes(settledCounter: 1, forkCounter: 1))
            }
            replica.lostChanges += UInt64(gap.counters.count)
            replica.nextCounter = first
            replica.chain = chain
            try store(&replica)
        }
        let known = StoredGroups(storage: storage, of: replica)
        let judged = try Admission.judge(
            groups: request.groups, expected: replica.nextCounter,
            deviceNextCounter: request.nextCounter,
            isSameBelow: { counter in
                try request.chain.map { try known.isSame($0, below: counter) } ?? true
            }, stored: { try known.group(at: $0)?.group })
        switch judged {
        case .expected(let counter):
            return Admitted(
                outcomes: Outcomes(settledCounter: counter, expectedCounter: counter))
        case .fork(let index, let counter):
            var outcomes = Outcomes(settledCounter: counter, forkCounter: counter)
            for group in request.groups[..<index] {
                try repeatOutcome(of: group, from: known, into: &outcomes)
            }
            return Admitted(outcomes: outcomes)
        case .admit(let knownCount):
            if request.groups.isEmpty { return Admitted() }
            var outcomes = Outcomes(settledCounter: request.groups[0].firstCounter)
            for group in request.groups[..<knownCount] {
                try repeatOutcome(of: group, from: known, into: &outcomes)
                outcomes.settledCounter = group.nextCounter
            }
            // In a recovery the device learns what was decided. What was not may have seen what is
            // lost, and comes when all of that is back.
            if !session.terms.contains(request.cursor, head: session.head) {
                return Admitted(outcomes: outcomes)
            }
            outcomes.settledCounter = request.groups.last?.nextCounter ?? 0
            // An older program left it out.
            if replica.chain == nil {
                replica.chain = request.chain?.appending(request.groups[..<knownCount])
            }
            return try admit(
                request, frame: frame, knownCount: knownCount, outcomes: outcomes,
                replica: replica, device: device, scope: scope, session: session)
        }
    }

    private func admit(
        _ request: SyncRequest, frame: [UInt8], knownCount: Int, outcomes known: Outcomes,
        replica: ReplicaRow, device: Device, scope: Scope, session: Session
    ) throws -> Admitted {
        var result = Admitted()
        var outcomes = known
        if knownCount < request.groups.count {
            var replica = replica
            // The admitter stores it, but needs its row.
            if replica.row == 0 { try store(&replica) }
            try openTerm(session)
            let admitter = try admitter(
                for: Writer(
                    replica: replica, device: device, scope: scope,
                    namingReplicas: try namingReplicas(
                        request, replica: replica.id, device: device, terms: session.terms),
                    clocks: request.clocks), frame: frame, session: session)
            let firstSequence = admitter.nextSequence
            for group in request.groups[knownCount...] {
                if try admitter.isForked(group) {
                    outcomes.settledCounter = group.firstCounter
                    outcomes.forkCounter = group.firstCounter
                    break
                }
                try admitter.admit(group)
                if let outcome = admitter.outcomes.last?.outcome {
                    outcomes.note(outcome, firstCounter: group.firstCounter)
                    result.figures.count(outcome, changes: group.changes.count)
                }
            }
            session.head = try admitter.finish().head
            for base in admitter.unjudgedBases {
                try noteAhead(
                    base, device: device.id, tellsEach: true, session: session,
                    figures: &result.figures)
            }
            if session.head >= firstSequence { outcomes.firstSequence = firstSequence }
            result.figures.batches = 1
            let refused = admitter.outcomes.count { !$0.isApplied }
            if refused > 0 { try storage.addRefusedGroups(refused, device: device.id) }
            if try storage.hasRoutes() { try route(admitter.needsToRoute, session: session) }
        }
        result.outcomes = outcomes
        if let first = request.groups.first?.firstCounter {
            result.sent = first..<outcomes.settledCounter
        }
        return result
    }

    /// What a replica has from those that it descends from: which of them it covers up to where,
    /// and the newest stamp that they had been given there.
    ///
    /// Only replicas of the same device count; anything else would let a device claim to have seen
    /// what it never saw. And only if all that is shared is here: what a restore has lost another
    /// copy of the journal may have replaced, or replace later.
    private func inherit(
        _ ancestors: [Ancestor], device: Int64
    ) throws -> (ancestors: [Dot], newestStamp: Int64?) {
        var dots: [Dot] = []
        var stamps: [Int64] = []
        for ancestor in ancestors {
            // With nothing shared there is nothing to cover.
            let counter = ancestor.dot.counter
            guard counter > 0, let row = try storage.replica(ancestor.dot.replica),
                row.device == device, row.nextCounter > counter
            else { continue }
            let stored = StoredGroups(storage: storage, of: row)
            guard try stored.isSame(ancestor.chain, below: counter + 1) else { continue }
            dots.append(ancestor.dot)
            if let stamp = try stored.newestStamp(upTo: counter) { stamps.append(stamp) }
        }
        return (dots, stamps.max())
    }

    /// Whose records this writer may create: its own, and those of replicas that it says it
    /// descends from, unless they are another person's: a journal that was enrolled anew as
    /// another device told its replica then.
    private func namingReplicas(
        _ request: SyncRequest, replica: ReplicaID, device: Device, terms: TermLine
    ) throws -> Set<ReplicaID> {
        var formerDevices: Set<Int64> = [device.id]
        var frontier = [device.id]
        while let next = frontier.popLast(), formerDevices.count <= Limits.ancestorsMax {
            for replica in try storage.enrolledReplicas(of: next) {
                if let owner = try storage.replica(replica)?.device,
                    formerDevices.insert(owner).inserted
                {
                    frontier.append(owner)
                }
            }
        }
        var result: Set<ReplicaID> = [replica]
        for ancestor in request.ancestors {
            let row = try storage.replica(ancestor.dot.replica)
            if row?.device.map({ formerDevices.contains($0) }) ?? true {
                result.insert(ancestor.dot.replica)
            }
        }
        // A term is a replica without a device, and nobody's ancestor.
        return result.filter { !terms.contains($0) }
    }

    private func store(_ replica: inout ReplicaRow) throws {
        if replica.row == 0 {
            replica.row = try storage.insertReplica(replica)
        } else {
            try storage.updateReplica(replica)
        }
    }

    private func repeatOutcome(
        of group: ChangeGroup, from known: StoredGroups, into outcomes: inout Outcomes
    ) throws {
        guard let stored = try known.group(at: group.firstCounter) else {
            throw LedgerError.damaged("an outcome that was judged is missing")
        }
        outcomes.note(stored.outcome.outcome, firstCounter: group.firstCounter)
    }

    // MARK: Dispatch

    /// Dispatches new needs by the routes: the nearest territory that has one for the category.
    private func route(_ needs: [StoredRecord], session: Session) throws {
        struct Place: Hashable {
            var category: String
            var grid: String
        }
        // Many needs, few kinds and places.
        var routes: [Place: RouteRow?] = [:]
        let today = CivilDate(
            milliseconds: session.now, offsetMinutes: session.settings.offsetMinutes)
        var orders: [(record: RecordID, createdKind: Kind?, [Change])] = []
        for need in needs {
            guard let grid = need.grid, let category = text(of: .category, in: need) else {
                continue
            }
            let place = Place(category: category, grid: grid)
            if routes[place] == nil {
                routes.updateValue(try route(of: category, from: grid), forKey: place)
            }
            guard case .some(.some(let route)) = routes[place] else { continue }
            // After a restore a route may be here before its team comes back.
            guard try storage.team(route.team) != nil else { continue }
            orders.append(
                (
                    need.id, nil,
                    [order(team: route.team, due: route.dueDays.map { today.adding(days: $0) })]
                ))
        }
        try admitOwn(session, orders)
    }

    private func route(of category: String, from grid: String) throws -> RouteRow? {
        var territory = try storage.territory(grid)
        var steps = 0
        while let here = territory, steps < TerritoryLevel.allCases.count {
            if let route = try storage.route(category: category, territory: here.code) {
                return route
            }
            territory = try here.parent.flatMap { try storage.territory($0) }
            steps += 1
        }
        return nil
    }

    private func order(team: String, due: CivilDate?) -> Change {
        let number = UInt64.random(in: 1...ReplicaID.bitMask, using: &random)
        return Change(
            field: NeedField.dispatch.rawValue,
            value: FieldValue.dispatch(
                FieldValue.Dispatch(order: number, team: team, due: due)
            ).bytes)
    }

    /// Dispatches a need from the server itself, as the operator.
    package func dispatch(_ need: RecordID, team: String, due: CivilDate?) throws {
        try write { session in
            guard let record = try storage.record(need), record.kind == Kind.need.rawValue else {
                throw LedgerError.notFound("the need", hint: "need list shows the ids")
            }
            guard try storage.team(team) != nil else {
                throw LedgerError.notFound(
                    "team \(team)", hint: "give the id of a team that was imported")
            }
            switch record.progress.status {
            case .recorded, .dispatched, .declined, .accepted, .started: break
            case .finished, .rated, .withdrawn:
                throw LedgerError.invalid(
                    "the need is \(record.progress.status.rawValue)",
                    hint: "only what is not done yet can be dispatched")
            }
            let today = CivilDate(
                milliseconds: session.now, offsetMinutes: session.settings.offsetMinutes)
            if let due, due < today {
                throw LedgerError.invalid(
                    "\(due) has passed", hint: "give a due date from \(today) on")
            }
            try admitOwn(session, [(need, nil, [order(team: team, due: due)])])
        }
    }

    // MARK: Reference data

    /// Adds and updates rows by their key; removes nothing.
    ///
    /// - Throws: ``LedgerError/row(line:column:_:)`` for the first bad cell; nothing is stored.
    package func importTable(_ table: ReferenceTable, csv: String) throws -> ImportReport {
        try write { session in
            let importer = ReferenceImport(storage: storage)
            let plan = try importer.plan(table, csv: csv, banner: session.settings.banner)
            var start = 0
            while start < plan.changes.count {
                // The term must be open before ids are drawn from it.
                try openTerm(session)
                var end = start
                var size = 0
                while end < plan.changes.count, size < LedgerLimits.hubChangesPerBatchMax {
                    size += plan.changes[end].fields.count
                    end += 1
                }
                var own: [(record: RecordID, createdKind: Kind?, [Change])] = []
                var number = session.head
                for change in plan.changes[start..<end] {
                    if let key = change.key {
                        guard let record = try storage.record(key: key) else {
                            throw LedgerError.damaged("reference data without its record")
                        }
                        own.append((record.id, nil, change.fields))
                    } else {
                        number += 1
                        own.append(
                            (newRecordID(session, number: number), change.kind, change.fields))
                    }
                }
                try admitOwn(session, own)
                for (change, entry) in zip(plan.changes[start..<end], own) {
                    guard let record = try storage.record(entry.record) else { continue }
                    try importer.store(change.row, key: record.key)
                }
                start = end
            }
            for route in plan.routes { try storage.setRoute(route) }
            return plan.report
        }
    }

    // MARK: Reading

    /// - Parameter idText: Any unambiguous beginning or ending of a need's 32 digits.
    package func resolve(_ idText: String) throws -> RecordID {
        let wanted = idText.lowercased().filter { $0 != "-" }
        guard wanted.count >= 4, wanted.allSatisfy(\.isHexDigit) else {
            throw LedgerError.invalid(
                "an id is given by at least four of its hexadecimal digits",
                hint: "need list shows the ids")
        }
        let ids = try storage.snapshot { try storage.recordIDs(of: .need) }
        let found = ShortIDs.matches(of: wanted, among: ids)
        guard let id = found.first else {
            throw LedgerError.notFound("need \(idText)", hint: "need list shows the ids")
        }
        guard found.count == 1 else {
            throw LedgerError.invalid(
                "\(found.count) needs match \(idText)", hint: "give more digits")
        }
        return id
    }

    package func needs() throws -> [NeedReport] {
        try storage.snapshot {
            let today = CivilDate(
                milliseconds: clock(), offsetMinutes: try storage.settings().offsetMinutes)
            return try storage.records(of: .need, onlyInConflict: false).map { record in
                let progress = record.progress
                return NeedReport(
                    id: record.id, createdMilliseconds: record.createdMilliseconds,
                    creator: try name(of: record.id.replica),
                    text: text(of: .text, in: record) ?? "",
                    category: text(of: .category, in: record), grid: record.grid ?? "",
                    progress: progress, isOverdue: progress.isOverdue(today: today),
                    conflictingFields: record.conflictingFields)
            }
        }
    }

    package func conflicts() throws -> [ConflictReport] {
        try storage.snapshot {
            try storage.records(of: .need, onlyInConflict: true).flatMap { record in
                try record.conflictingFields.map { field in
                    ConflictReport(
                        record: record.id, field: field,
                        versions: try record.state[field.rawValue].versions.map {
                            (
                                try name(of: $0.dot.replica), $0.stamp.milliseconds, $0.value
                            )
                        },
                        contestedFields: contestedFields(of: field, in: record))
                }
            }
        }
    }

    /// What a delete or a dispatch had not seen.
    private func contestedFields(of field: NeedField, in record: StoredRecord) -> [NeedField] {
        switch field {
        case .withdrawal: record.contestedFields.compactMap { NeedField(rawValue: $0) }
        case .dispatch: record.lateAnswers.map(\.field)
        default: []
        }
    }

    private func text(of field: NeedField, in record: StoredRecord) -> String? {
        guard let bytes = record.state.value(of: field.rawValue),
            case .text(let text) = FieldValue(.text, bytes: bytes)
        else { return nil }
        return text
    }

    /// The person behind a replica; empty for the hub itself.
    private func name(of replica: ReplicaID) throws -> String {
        guard let device = try storage.replica(replica)?.device else { return "" }
        return try storage.device(device)?.device.name ?? ""
    }

    /// Every admitted change of a record that the device may hold, in the order of the sequence.
    package func history(of id: RecordID, for device: Int64) throws -> [HistoryEntry] {
        try storage.snapshot {
            guard let row = try storage.device(device), !row.device.isRevoked else {
                throw LedgerError.revoked
            }
            guard let record = try storage.record(id),
                try scope(of: row.device).contains(record.placement)
            else { throw LedgerError.forbidden }
            let terms = try storage.terms()
            var numbers = try storage.historyBatches(of: record.key)
            if let first = try storage.batch(holding: record.firstSequence) {
                numbers.insert(first.number, at: 0)
            }
            var entries: [HistoryEntry] = []
            var clocks: [UInt64: VectorClock] = [:]
            /// - Parameter base: As it was cut when the change was admitted.
            func append(
                _ field: UInt32, _ version: Version, writer: String, isTimeUncertain: Bool
            ) throws {
                let register = record.state[field]
                let live = register.versions.first { $0.dot == version.dot }
                // After a restore the merge may have learned more than the change itself tells.
                let clock = live?.clock ?? version.clock
                let base = clock.base
                let admitted = try clocks[base] ?? self.clock(at: base, terms: terms)
                clocks[base] = admitted
                entries.append(
                    HistoryEntry(
                        field: field, value: version.value, stamp: version.stamp,
                        sequence: version.sequence, writer: writer,
                        clock: clock.expanded(
                            for: version.dot, term: terms.term(at: base), admitted: admitted),
                        isLive: live != nil,
                        isWinner: register.winner?.dot == version.dot,
                        isTimeUncertain: isTimeUncertain))
            }
            let brought = try BroughtChanges(storage: storage).of(record)
            for change in brought?.changes ?? [] where change.field != LateAnswers.field {
                try append(
                    change.field, change.version,
                    writer: try name(of: change.version.dot.replica), isTimeUncertain: false)
            }
            for number in numbers {
                guard let batch = try storage.batch(number: number),
                    let writer = try storage.replica(row: batch.replicaRow)
                else { throw LedgerError.damaged("the history names a batch that is missing") }
                let outcomes = try StoredOutcome.decode(batch.outcomes)
                let writerName = try name(of: writer.id)
                for (group, outcome) in zip(try StoredContent.decode(batch), outcomes)
                where group.record == id && outcome.isApplied {
                    guard outcome.stamps.count == group.changes.count else {
                        throw LedgerError.damaged("a batch whose outcomes are not its own")
                    }
                    let clock = try batch.clock(
                        of: group, writer: writer, terms: terms, in: storage)
                    for (index, change) in group.changes.enumerated() {
                        let dot = Dot(writer.id, group.firstCounter + UInt64(index))
                        // Told already, with the stamp and the place that count.
                        let isTold = brought?.under(dot).contains {
                            $0.field == change.field && $0.version.value == change.value
                        }
                        if isTold == true { continue }
                        try append(
                            change.field,
                            Version(
                                value: change.value,
                                stamp: Stamp(milliseconds: outcome.stamps[index], dot: dot),
                                sequence: outcome.sequence + UInt64(index),
                                clock: clock),
                            writer: writerName, isTimeUncertain: outcome.basis == .wall)
                    }
                }
            }
            entries.sort { $0.sequence < $1.sequence }
            return entries
        }
    }

    /// What whoever had pulled up to a sequence had seen: of every device's replica, and, since the
    /// hub's counter is the sequence, of every term up to where the next one began.
    private func clock(at base: UInt64, terms: TermLine) throws -> VectorClock {
        var clock = try storage.clock(at: base)
        for (index, entry) in terms.entries.enumerated() where entry.first <= base {
            let isLast = index + 1 == terms.entries.count
            let end = isLast ? base : min(base, terms.entries[index + 1].first - 1)
            clock.observe(Dot(entry.term, end))
        }
        return clock
    }

    // MARK: Care

    /// Looks for damage: the file's structure, every record's content and place, every batch, the
    /// digests, whether every live version is what its batch says, and whether what came back of
    /// each record stands by it as in its batch.
    ///
    /// - Returns: One line a finding; none when all is well.
    package func check() throws -> [String] {
        var findings = try storage.check()
        do {
            try storage.snapshot {
                try checkRecords(&findings)
                try checkBrought(against: try checkBatches(&findings), &findings)
            }
        } catch LedgerError.busy {
            throw LedgerError.busy
        } catch {
            // What stands in the way of reading on is the last finding. SQLite lets a transaction
            // that met damage not end well either, so it is caught out here.
            findings.append("the ledger cannot be read to its end: \(error)")
        }
        return findings
    }

    private func checkRecords(_ findings: inout [String]) throws {
        var digests: [Bucket: UInt64] = [:]
        let sources = RecordSources(storage: storage, terms: try storage.terms())
        try storage.forEachRecord(unless: nil) { key, result, isListed in
            guard case .success(let record) = result else {
                findings.append("the record with key \(key) cannot be read")
                return
            }
            let digest = record.digest
            for bucket in record.placement.buckets { digests[bucket, default: 0] &+= digest }
            // What its batch cannot tell is a finding of the batch.
            if case .altered = try sources.verdict(of: record) {
                findings.append("record \(record.id) is not as it was admitted")
            }
            if record.isInConflict != isListed {
                findings.append("record \(record.id) is wrongly listed as to its conflicts")
            }
            if record.kind == Kind.need.rawValue,
                record.grid != text(of: .grid, in: record)
                    || record.team != record.progress.dispatch?.team
            {
                findings.append("record \(record.id) lies in a place that is not its own")
            }
        }
        for entry in try storage.digests() {
            if digests.removeValue(forKey: entry.bucket) ?? 0 != entry.value {
                findings.append("the digest of bucket \(entry.bucket.name) does not match")
            }
        }
        for bucket in digests.filter({ $0.value != 0 }).keys.sorted() {
            findings.append("bucket \(bucket.name) has no digest")
        }
    }

    /// - Returns: Of each batch in which something came back, the sum of the hashes of the rows
    ///   that stand by its records; `nil` of a batch that cannot be read.
    private func checkBatches(_ findings: inout [String]) throws -> [Int64: UInt64?] {
        let opened = Set(try storage.terms().entries.map(\.first))
        var head: UInt64 = 0
        var broughtSums: [Int64: UInt64?] = [:]
        try storage.forEachBatch { batch in
            var sequence = batch.firstSequence
            if sequence != head + 1 {
                findings.append("batch \(batch.number) does not follow sequence \(head)")
            }
            head = batch.lastSequence
            if !batch.isSound {
                findings.append("batch \(batch.number) is not as it was stored")
            }
            let groups = try? StoredContent.decode(batch)
            let outcomes = try? StoredOutcome.decode(batch.outcomes)
            let touched = try? TouchedRecords.decode(batch.touched) { _ in true }
            let content = try? StoredContent.decodeBrought(batch.content)
            guard let groups, let outcomes, let (bringer, brought) = content, touched != nil,
                groups.count == outcomes.count
            else {
                findings.append("batch \(batch.number) cannot be read")
                broughtSums[batch.number] = .some(nil)
                return
            }
            if !brought.isEmpty {
                // A row's key is not of its batch.
                broughtSums[batch.number] =
                    BroughtRow.all(of: brought, by: bringer, inBatch: batch.number) { _ in 0 }
                    .reduce(0) { $0 &+ $1.row.hash }
            }
            // A term that opens, and a recorder who came after the need, are events.
            if groups.isEmpty && brought.isEmpty
                && (opened.contains(sequence) || StoredContent.isBrought(batch.content))
            {
                sequence += 1
            }
            for change in brought where change.version.sequence == sequence { sequence += 1 }
            for (group, outcome) in zip(groups, outcomes) where outcome.isApplied {
                if outcome.sequence != sequence || outcome.stamps.count != group.changes.count {
                    findings.append("batch \(batch.number) has outcomes that are not its own")
                    return
                }
                sequence += UInt64(group.changes.count)
            }
            if sequence != batch.lastSequence + 1 {
                findings.append("batch \(batch.number) ends in a wrong sequence")
            }
        }
        return broughtSums
    }

    private func checkBrought(
        against batchSums: [Int64: UInt64?], _ findings: inout [String]
    ) throws {
        var sums: [Int64: UInt64] = [:]
        try storage.forEachBrought(of: nil) { row in
            sums[row.batch, default: 0] &+= row.hash
            guard let changes = row.changes else {
                findings.append(
                    "what batch \(row.batch) brought back of the record with key \(row.record) "
                        + "is not as it was stored")
                return
            }
            for replica in BroughtRow.replicas(of: changes).sorted()
            where try !storage.isBrought(record: row.record, by: replica) {
                findings.append(
                    "the record with key \(row.record) is not listed with a replica whose changes "
                        + "came back")
            }
        }
        for number in Set(sums.keys).union(batchSums.keys).sorted() {
            // Of a batch that cannot be read nothing can be said, and that is a finding by itself.
            guard let expected = batchSums[number, default: 0] else { continue }
            if expected != sums[number] {
                findings.append(
                    "what batch \(number) brought back is not what stands by its records")
            }
        }
    }

    /// Copies the ledger as it is at one moment; safe while others write.
    ///
    /// - Parameter path: Nothing may be there yet: an older backup is not replaced.
    package func backup(to path: String) throws {
        guard !path.isEmpty else {
            throw LedgerError.file(
                "the file to make has no name", hint: "give the path of a new file")
        }
        guard access(path, F_OK) != 0 else {
            throw LedgerError.file(
                "there is a file at \(path) already", hint: "choose another name")
        }
        try storage.backup(to: path)
    }

    /// Folds SQLite's log into the ledger's own file, which then holds everything, and empties it.
    /// Waits for nobody: while another process reads or writes, some of it may stay in the log.
    ///
    /// - Throws: ``LedgerError/busy`` then, or the disk's trouble; nothing is lost by either.
    package func foldLog() throws { try storage.foldLog() }

    package func figures() throws -> LedgerFigures {
        try storage.snapshot { try storage.figures(nowMilliseconds: clock()) }
    }
}

extension RandomSource {
    /// The machine's own randomness; it stays out of row 0.
    package static var system: RandomSource {
        RandomSource {
            var generator = SystemRandomNumberGenerator()
            return generator.next()
        }
    }
}

extension Outcomes {
    fileprivate mutating func note(_ outcome: GroupOutcome, firstCounter: UInt64) {
        switch outcome {
        case .applied(let fields):
            if !fields.isEmpty {
                superseded.append(Superseded(firstCounter: firstCounter, fields: fields))
            }
        case .rejected(let code, let field, let reason):
            refusals.append(
                Refusal(firstCounter: firstCounter, code: code, field: field, reason: reason))
        }
    }
}

extension SyncFigures {
    fileprivate mutating func count(_ outcome: GroupOutcome, changes: Int) {
        switch outcome {
        case .applied(let superseded):
            changesApplied += changes - superseded.count
            changesSuperseded += superseded.count
        case .rejected: changesRejected += changes
        }
    }

    fileprivate mutating func add(_ other: SyncFigures) {
        batches += other.batches
        changesApplied += other.changesApplied
        changesSuperseded += other.changesSuperseded
        changesRejected += other.changesRejected
        events += other.events
        brought += other.brought
    }
}

extension StoredOutcome {
    var isApplied: Bool {
        if case .applied = outcome { true } else { false }
    }
}

extension LedgerError {
    /// Whether the error is the ledger's own trouble, not one request's.
    fileprivate var concernsWholeLedger: Bool {
        switch self {
        case .busy, .disk, .file: true
        case .damaged, .invalid, .row, .notFound, .codeUnknown, .codeUsed, .codeExpired,
            .tokenUnknown, .revoked, .forbidden:
            false
        }
    }
}

extension Int64 {
    /// Safe for `abs`.
    fileprivate var clampedForAbs: Int64 { Swift.max(self, .min + 1) }
}
