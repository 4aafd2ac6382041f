// A disk in memory, for running production code on real SQLite through crashes.
//
// A `Disk` is a SQLite VFS. Nothing of it is random but what its seed decides, and nothing depends
// on the bytes stored, so the same calls with the same seed have the same fate.
//
// What survives
//   A file is seen with all that was written to it, as through a page cache. Beside that it has
//   durable bytes, and the list of writes and truncations since its last sync.
//   - A killed process loses its locks and the shared memory of its write-ahead log. The page
//     cache stays, and what was not synced can still be lost later.
//   - A power loss decides about every unsynced write by itself: kept, lost, or torn, that is any
//     subset of its sectors of 512 bytes. A later write may survive an earlier one, although both
//     hit the same sector. A lost write may still have made its file longer, by zeros.
//     Truncations are kept or lost. How many are kept is drawn for each crash, from none to all.
//   - Names are apart from content: a created, deleted or renamed name is durable only after a
//     sync of its directory; before, each such step is kept or lost by itself. Syncing a file
//     never syncs its name. SQLite's Unix VFS syncs the directory with the first sync of a
//     journal or log since its opening, and when `xDelete` asks for it; so does this one.
//   - Bytes outside a write are never harmed by it. SQLite is told so
//     (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`), because its Unix VFS says it of every disk and so
//     production relies on it; without, SQLite would pad each commit and we would test other code.
//     Nothing else is promised: no atomic sector, no order, no safe append.
//
// Steps
//   Creating, writing, truncating, syncing and deleting a file are storage steps, which are
//   counted and can be made to fail. A failing write may have put down some of its first sectors;
//   a failing truncation or deletion may have happened. A directory's sync is part of the step
//   that asks for it, so unlike the Unix VFS, which ignores its failure, this one reports it.
//
// Not modelled: directories (any path will do), permissions, memory-mapped files, processes of
// which only one is killed, and sectors that rot by themselves (see `corrupt`).

import CSQLite

/// A disk in memory that SQLite can open databases on, and that crashes and fails on demand.
///
/// Open with the VFS ``vfsName``. Everything must happen on one thread, or be handed over as a
/// whole. Open files keep their disk alive.
package final class Disk {
    package enum Crash: Equatable, Sendable {
        /// As `kill -9` does: what was written is in the page cache and stays.
        case processKilled
        /// What was not synced is kept, lost or torn.
        case powerLost
    }

    package enum Fault: Equatable, Sendable {
        /// The step fails with `SQLITE_IOERR`.
        case ioError
        /// The step fails as on a disk without room, whatever ``bytesMax`` is.
        case full
        /// The step is the last: from then on everything fails until ``restart()``.
        case crash(Crash)
    }

    /// The unit of tearing, in bytes, also as told to SQLite.
    package static let sectorByteCount = 512

    /// The name to open connections with, unique in the process; it differs from run to run.
    package let vfsName: String

    /// How many bytes all files may have together; a write beyond it is `SQLITE_FULL`. Files
    /// deleted and closed make room again. Files that are already too large stay.
    package var bytesMax = Int.max

    /// Whether a sync that fails makes the kernel forget what it had to write.
    ///
    /// If so, each unsynced write is durable or not for good: it is still seen, and the next sync
    /// succeeds without it. Linux does that on ext4 and XFS. If not, the next sync writes all.
    ///
    /// - SeeAlso: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
    package var failedSyncDropsWrites = false

    /// Storage steps so far; what is refused while the disk is down is none.
    package private(set) var stepCount = 0

    /// Reads of files so far.
    package private(set) var readCount = 0

    /// The size of all files together, deleted ones that are still open among them.
    package internal(set) var bytesUsed = 0

    /// Whether a planned crash has come, and ``restart()`` has not yet been called.
    package private(set) var isDown = false

    /// Files that SQLite has open, dead ones among them.
    package internal(set) var openFileCount = 0

    /// The reason of the latest failure as an `errno`, which SQLite asks for.
    var systemErrorNumber: Int32 = 0

    /// Counts crashes; what was opened before the latest is dead.
    private(set) var life = 0

    var names: [String: StoredFile] = [:]
    private var durableNames: [String: StoredFile] = [:]
    private var unsyncedNames: [NameChange] = []
    private var nextFileNumber = 0

    private var plannedStep: (number: Int, fault: Fault)?
    private var plannedReadNumber: Int?

    /// Decides what survives and how far a failing step got.
    private var fate: SeededGenerator
    /// What SQLite asks of the VFS; apart, so that it cannot shift what survives.
    private var noise: SeededGenerator

    let clock: () -> Int64
    let sleep: (Int) -> Void
    let vfs: UnsafeMutablePointer<sqlite3_vfs>
    private let vfsNameBytes: UnsafeMutableBufferPointer<CChar>
    private var isRegistered = true

    /// Makes a disk and registers it with SQLite.
    ///
    /// - Parameters:
    ///   - seed: Decides all that is left to chance.
    ///   - image: The files on it, durable.
    ///   - clock: Milliseconds since 1970, for SQL's `'now'`.
    ///   - sleep: Told how many microseconds SQLite would wait for a lock. Nobody waits.
    package init(
        seed: UInt64, image: Image = Image(), clock: @escaping () -> Int64 = { 0 },
        sleep: @escaping (_ microseconds: Int) -> Void = { _ in }
    ) {
        _ = Self.configuration
        fate = SeededGenerator(seed)
        noise = SeededGenerator(~seed)
        self.clock = clock
        self.sleep = sleep
        vfs = .allocate(capacity: 1)
        vfsName = "disk-\(UInt(bitPattern: vfs))"
        vfsNameBytes = .allocate(capacity: vfsName.utf8.count + 1)
        _ = vfsNameBytes.initialize(from: vfsName.utf8CString)
        initializeVFS(name: UnsafePointer(vfsNameBytes.baseAddress!))
        let code = sqlite3_vfs_register(vfs, 0)
        precondition(code == SQLITE_OK, "SQLite has no memory for a VFS")
        place(image)
    }

    deinit {
        close()
        vfs.deallocate()
        vfsNameBytes.deallocate()
    }

    /// A simulation opens a database for every few events, so it feels what an allocation costs.
    /// SQLite is in use once a disk is registered: what production sets at its first connection
    /// would come too late.
    private static let configuration: Void = {
        waystation_configure_process()
        waystation_reserve_pages(cachedPagesMax)
    }()

    /// Enough for all connections of one world: 9 MB in a process that runs simulations.
    private static let cachedPagesMax: Int32 = 2_000

    /// Unregisters the disk. All connections must have been closed. May be repeated.
    package func close() {
        precondition(openFileCount == 0, "A connection to the disk is still open")
        guard isRegistered else { return }
        isRegistered = false
        sqlite3_vfs_unregister(vfs)
    }

    /// Makes SQLite's own randomness repeatable: the salts of logs, `random()`, `randomblob()`.
    ///
    /// It is one generator for the whole process, so this is for a program that runs simulations
    /// on a single thread, and before each of them. Otherwise the bytes of logs and journals
    /// differ from run to run; what survives a crash does not depend on them.
    ///
    /// - Parameter seed: Not 0, which would let the system decide.
    package static func seedSQLite(_ seed: Int32) {
        precondition(seed != 0)
        _ = configuration  // Seeding puts SQLite in use.
        waystation_seed_randomness(seed)
    }
}

// MARK: - Crashes and faults

extension Disk {
    /// Crashes now, and restarts: what is open is dead until closed, every use of it an I/O error,
    /// and what is opened from now on sees what survived. Planned faults are forgotten.
    package func crash(_ crash: Crash) {
        stop(crash)
        restart()
    }

    /// Lets files be opened again after a planned crash.
    package func restart() {
        isDown = false
    }

    /// Plans a fault; it replaces the one that was planned before.
    ///
    /// - Parameters:
    ///   - steps: Which storage step fails, from 1 for the next one.
    ///   - fault: What happens there, once.
    package func failNext(after steps: Int = 1, with fault: Fault) {
        precondition(steps > 0)
        plannedStep = (stepCount + steps, fault)
    }

    /// Makes a read fail, once, as `SQLITE_IOERR_READ`.
    ///
    /// - Parameter reads: Which one, from 1 for the next.
    package func failNextRead(after reads: Int = 1) {
        precondition(reads > 0)
        plannedReadNumber = readCount + reads
    }

    /// Forgets the planned faults that have not come.
    package func cancelFaults() {
        plannedStep = nil
        plannedReadNumber = nil
    }

    /// Counts a storage step, and says what goes wrong with it.
    func beginStep() -> Fault? {
        stepCount += 1
        guard let plannedStep, stepCount >= plannedStep.number else { return nil }
        self.plannedStep = nil
        return plannedStep.fault
    }

    /// Counts a read, and says whether it fails.
    func beginRead() -> Bool {
        readCount += 1
        guard let plannedReadNumber, readCount >= plannedReadNumber else { return false }
        self.plannedReadNumber = nil
        systemErrorNumber = SystemError.inputOutput
        return true
    }

    /// Ends a step that fails; what it half did must have been done before.
    ///
    /// - Parameters:
    ///   - ioError: The extended code of an I/O error at this kind of step.
    ///   - full: The code of a full disk there.
    func fail(_ fault: Fault, ioError: Int32, full: Int32) -> Int32 {
        switch fault {
        case .ioError:
            systemErrorNumber = SystemError.inputOutput
            return ioError
        case .full:
            systemErrorNumber = SystemError.noSpace
            return full
        case .crash(let crash):
            stop(crash)
            isDown = true
            systemErrorNumber = SystemError.inputOutput
            return SQLITE_IOERR
        }
    }

    /// Returns an even chance.
    func tossCoin() -> Bool { fate.next() & 1 == 0 }

    /// Returns a number below `bound`, which must be positive.
    func draw(below bound: Int) -> Int { fate.next(below: bound) }

    /// Loses what a failed sync should have written, where kernels do so.
    func failSync(of file: StoredFile) {
        if failedSyncDropsWrites { file.dropUnsynced(fate: &fate) }
    }

    func nextNoise() -> UInt64 { noise.next() }

    private func stop(_ crash: Crash) {
        life += 1
        cancelFaults()
        if crash == .powerLost { loseUnsynced() }
        bytesUsed = 0
        for file in names.values {
            file.forgetUsers()
            file.isLinked = true  // Its deletion may have been lost.
            bytesUsed += file.byteCount
        }
    }

    private func loseUnsynced() {
        // Chances vary from crash to crash: with even ones alone, "all but the last" or "nothing
        // but the last" would hardly ever happen to a long list.
        let odds = SurvivalOdds(
            keptPercent: [0, 20, 50, 80, 95, 100][draw(below: 6)],
            tornPercent: [0, 20, 50][draw(below: 3)])
        for change in unsyncedNames where draw(below: 100) < odds.keptPercent {
            change.apply(to: &durableNames)
        }
        unsyncedNames.removeAll()
        // In the order of creation: that of a dictionary differs from run to run.
        for file in durableNames.values.sorted(by: { $0.number < $1.number }) {
            file.loseUnsynced(odds, fate: &fate)
        }
        names = durableNames
    }
}

// MARK: - Names

/// A step of a directory that is not yet durable.
private enum NameChange {
    case link(String, StoredFile)
    case unlink(String)
    case rename(String, to: String, StoredFile)

    func apply(to names: inout [String: StoredFile]) {
        switch self {
        case .link(let name, let file): names[name] = file
        case .unlink(let name): names[name] = nil
        case .rename(let old, let new, let file):
            // Both names or neither, even if the creation of the old one was lost.
            names[old] = nil
            names[new] = file
        }
    }

    /// Whether a sync of that directory makes the step durable.
    func isIn(_ directory: Substring) -> Bool {
        switch self {
        case .link(let name, _), .unlink(let name), .rename(_, let name, _):
            return Self.directory(of: name) == directory
        }
    }

    static func directory(of name: String) -> Substring {
        let bytes = name.utf8
        return name[...(bytes.lastIndex(of: UInt8(ascii: "/")) ?? name.startIndex)]
    }
}

extension Disk {
    /// Creates an empty file; without a name it is gone when closed and needs no durability.
    func create(_ name: String?) -> StoredFile {
        let file = StoredFile(number: nextFileNumber, isTemporary: name == nil)
        nextFileNumber += 1
        if let name {
            names[name] = file
            unsyncedNames.append(.link(name, file))
        }
        return file
    }

    func unlink(_ name: String) {
        guard let file = names.removeValue(forKey: name) else { return }
        file.isLinked = false
        unsyncedNames.append(.unlink(name))
        releaseIfUnused(file)
    }

    func syncDirectory(of name: String) {
        guard !unsyncedNames.isEmpty else { return }
        let directory = NameChange.directory(of: name)
        for change in unsyncedNames where change.isIn(directory) {
            change.apply(to: &durableNames)
        }
        unsyncedNames.removeAll { $0.isIn(directory) }
    }

    /// Gives back the room of a file that has neither a name nor a user.
    func releaseIfUnused(_ file: StoredFile) {
        guard !file.isLinked, file.users.isEmpty else { return }
        bytesUsed -= file.byteCount
    }
}

// MARK: - Files from outside

extension Disk {
    /// What a disk holds, as when copied with the machine switched off.
    package struct Image: Equatable, Sendable {
        /// Bytes by path. Copies are cheap as long as nothing is written.
        package var files: [String: [UInt8]]

        package init(files: [String: [UInt8]] = [:]) { self.files = files }

        /// FNV-1a over paths and bytes in the order of the paths: to compare two runs, even in two
        /// processes.
        package var fingerprint: UInt64 {
            var hash: UInt64 = 0xcbf2_9ce4_8422_2325
            func add(_ bytes: some Sequence<UInt8>) {
                for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            }
            for (name, bytes) in files.sorted(by: { $0.key < $1.key }) {
                add(name.utf8)
                add([0])
                withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { add($0) }
                add(bytes)
            }
            return hash
        }
    }

    /// Returns all files as they are seen now, unsynced writes among them.
    package func snapshot() -> Image {
        Image(files: names.mapValues(\.contents))
    }

    /// Replaces all files, durably. What is open is dead, as after a crash.
    package func restore(_ image: Image) {
        stop(.processKilled)
        restart()
        place(image)
    }

    /// Returns the paths of all files, in ascending order.
    package func files() -> [String] { names.keys.sorted() }

    /// Returns a file's bytes as they are seen now, `nil` if there is no such file.
    package func contents(of file: String) -> [UInt8]? { names[file]?.contents }

    /// Creates or replaces a file, durably and without counting as a step. Nobody may have it
    /// open.
    package func write(_ contents: [UInt8], to name: String) {
        remove(name)
        let file = create(name)
        file.replaceDurably(with: contents)
        bytesUsed += contents.count
        syncDirectory(of: name)
    }

    /// Deletes a file, durably and without counting as a step. Nobody may have it open.
    package func remove(_ name: String) {
        precondition(names[name]?.users.isEmpty ?? true, "The file is open")
        unlink(name)
        syncDirectory(of: name)
    }

    /// Renames a file, replacing another, as `rename` does; durable once the directory is synced.
    /// Both must be in the same directory and not open.
    package func rename(_ old: String, to new: String) {
        precondition(NameChange.directory(of: old) == NameChange.directory(of: new))
        guard old != new, let file = names.removeValue(forKey: old) else { return }
        precondition(file.users.isEmpty, "The file is open")
        if let replaced = names.updateValue(file, forKey: new) {
            precondition(replaced.users.isEmpty, "The file is open")
            replaced.isLinked = false
            releaseIfUnused(replaced)
        }
        unsyncedNames.append(.rename(old, to: new, file))
    }

    /// Makes all of a file and its name durable; nothing happens if there is none.
    package func sync(_ name: String) {
        names[name]?.sync()
        syncDirectory(of: name)
    }

    /// Flips a bit of a file, durably: the medium was bad, nobody wrote.
    ///
    /// - Parameters:
    ///   - offset: Of the byte; within the file.
    ///   - bit: 0 to 7, from the lowest.
    package func corrupt(_ file: String, offset: Int, bit: Int) {
        guard let stored = names[file] else { preconditionFailure("No such file") }
        precondition((0..<stored.byteCount).contains(offset) && (0..<8).contains(bit))
        stored.flip(offset: offset, bit: bit)
    }

    private func place(_ image: Image) {
        names = [:]
        durableNames = [:]
        unsyncedNames = []
        bytesUsed = 0
        for (name, bytes) in image.files.sorted(by: { $0.key < $1.key }) {
            write(bytes, to: name)
        }
    }
}
