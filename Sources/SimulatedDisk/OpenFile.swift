import CSQLite

/// The numbers of `errno` that SQLite is told; they are Linux's, on every system.
enum SystemError {
    static let noEntry: Int32 = 2
    static let inputOutput: Int32 = 5
    static let exists: Int32 = 17
    static let noSpace: Int32 = 28
}

/// One opening of a file, with the locks it holds. The methods are those of `sqlite3_io_methods`
/// and return its codes.
///
/// Locks on a database file: many may be SHARED; of them one may be RESERVED, which means to
/// write; then PENDING, which lets no new reader in; then, with the last reader gone, EXCLUSIVE.
///
/// - SeeAlso: <https://sqlite.org/lockingv3.html>, `os_unix.c`.
final class OpenFile {
    let disk: Disk
    let file: StoredFile
    /// `nil` for a temporary file.
    let name: String?

    private let life: Int

    /// Whether the next sync is also one of the directory.
    private var syncsDirectory: Bool

    /// `SQLITE_LOCK_NONE` to `SQLITE_LOCK_EXCLUSIVE`, ascending.
    private var lockLevel = SQLITE_LOCK_NONE

    /// Kept even when a crash has taken it from the file: SQLite has pointers into it.
    private var sharedMemory: SharedMemory?
    private var sharedSlots: UInt8 = 0
    private var exclusiveSlots: UInt8 = 0

    private var persistsLog = false

    init(disk: Disk, file: StoredFile, name: String?, syncsDirectory: Bool) {
        self.disk = disk
        self.file = file
        self.name = name
        self.syncsDirectory = syncsDirectory
        life = disk.life
        file.users.append(self)
        disk.openFileCount += 1
    }

    /// Whether a crash has come since.
    var isDead: Bool { life != disk.life }

    func close() {
        disk.openFileCount -= 1
        guard !isDead else { return }
        file.users.removeAll { $0 === self }
        disk.releaseIfUnused(file)
    }
}

// MARK: - Bytes

extension OpenFile {
    func read(into destination: UnsafeMutableRawBufferPointer, offset: Int) -> Int32 {
        guard !isDead else { return dead() }
        guard !disk.beginRead() else { return ExtendedCode.read }
        let count = file.read(into: destination, offset: offset)
        guard count < destination.count else { return SQLITE_OK }
        // SQLite relies on the zeros.
        UnsafeMutableRawBufferPointer(rebasing: destination[count...])
            .initializeMemory(as: UInt8.self, repeating: 0)
        return ExtendedCode.shortRead
    }

    func write(_ bytes: UnsafeRawBufferPointer, offset: Int) -> Int32 {
        guard !isDead else { return dead() }
        if let fault = disk.beginStep() {
            let firstSector = offset / Disk.sectorByteCount
            let sectors = (offset + bytes.count - 1) / Disk.sectorByteCount - firstSector + 1
            // What a full disk refuses is never there whole.
            let endings = if case .full = fault { sectors } else { sectors + 1 }
            let end = (firstSector + disk.draw(below: endings)) * Disk.sectorByteCount
            _ = put(bytes, offset: offset, count: min(max(end - offset, 0), bytes.count))
            return disk.fail(fault, ioError: ExtendedCode.write, full: SQLITE_FULL)
        }
        guard put(bytes, offset: offset, count: bytes.count) else {
            disk.systemErrorNumber = SystemError.noSpace
            return SQLITE_FULL
        }
        return SQLITE_OK
    }

    /// Writes the first bytes, as many as there is room for; returns whether all had room.
    private func put(_ bytes: UnsafeRawBufferPointer, offset: Int, count: Int) -> Bool {
        let room = max(disk.bytesMax - disk.bytesUsed, 0)
        // Not `byteCount + room`: room is boundless by default.
        let growth = max(offset + count - file.byteCount, 0)
        let fitting = growth <= room ? count : max(count - (growth - room), 0)
        let before = file.byteCount
        file.write(UnsafeRawBufferPointer(rebasing: bytes[..<fitting]), offset: offset)
        disk.bytesUsed += file.byteCount - before
        return fitting == count
    }

    func truncate(to byteCount: Int) -> Int32 {
        guard !isDead else { return dead() }
        let fault = disk.beginStep()
        if fault == nil || disk.tossCoin() {
            let before = file.byteCount
            file.truncate(to: byteCount)
            disk.bytesUsed += file.byteCount - before
        }
        guard let fault else { return SQLITE_OK }
        return disk.fail(fault, ioError: ExtendedCode.truncate, full: ExtendedCode.truncate)
    }

    func sync() -> Int32 {
        guard !isDead else { return dead() }
        if let fault = disk.beginStep() {
            switch fault {
            case .ioError, .full: disk.failSync(of: file)
            case .crash: break  // It decides about the same writes.
            }
            return disk.fail(fault, ioError: ExtendedCode.sync, full: ExtendedCode.sync)
        }
        file.sync()
        if syncsDirectory, let name {
            disk.syncDirectory(of: name)
            syncsDirectory = false
        }
        return SQLITE_OK
    }

    func size(_ byteCount: inout Int64) -> Int32 {
        guard !isDead else { return dead() }
        byteCount = Int64(file.byteCount)
        return SQLITE_OK
    }

    private func dead() -> Int32 {
        disk.systemErrorNumber = SystemError.inputOutput
        return SQLITE_IOERR
    }
}

// MARK: - Locks of the file

extension OpenFile {
    func lock(_ level: Int32) -> Int32 {
        guard !isDead else { return dead() }
        guard level > lockLevel else { return SQLITE_OK }
        let others = highestLockOfOthers
        switch level {
        case SQLITE_LOCK_SHARED:
            guard others < SQLITE_LOCK_PENDING else { return SQLITE_BUSY }
        case SQLITE_LOCK_RESERVED:
            guard others < SQLITE_LOCK_RESERVED else { return SQLITE_BUSY }
        default:
            guard others < SQLITE_LOCK_RESERVED else { return SQLITE_BUSY }
            guard others == SQLITE_LOCK_NONE else {
                // Waits for the readers there are, and lets no new ones in.
                lockLevel = SQLITE_LOCK_PENDING
                return SQLITE_BUSY
            }
        }
        lockLevel = level
        return SQLITE_OK
    }

    func unlock(to level: Int32) -> Int32 {
        guard !isDead else { return dead() }
        lockLevel = min(lockLevel, level)
        return SQLITE_OK
    }

    func checkReservedLock(_ isReserved: inout Int32) -> Int32 {
        guard !isDead else { return dead() }
        let highest = max(lockLevel, highestLockOfOthers)
        isReserved = highest >= SQLITE_LOCK_RESERVED ? 1 : 0
        return SQLITE_OK
    }

    private var highestLockOfOthers: Int32 {
        var highest = SQLITE_LOCK_NONE
        for user in file.users where user !== self { highest = max(highest, user.lockLevel) }
        return highest
    }
}

// MARK: - Shared memory of the write-ahead log

/// What connections in WAL mode share: the log's index, in regions that SQLite asks for one by
/// one. Like the file that the Unix VFS maps, it starts anew when nobody uses it any more.
final class SharedMemory {
    private var regions: [UnsafeMutableRawBufferPointer] = []

    func region(_ index: Int, byteCount: Int, extends: Bool) -> UnsafeMutableRawPointer? {
        guard index < regions.count || extends else { return nil }
        while regions.count <= index {
            let region = UnsafeMutableRawBufferPointer.allocate(
                byteCount: byteCount, alignment: 16)
            region.initializeMemory(as: UInt8.self, repeating: 0)
            regions.append(region)
        }
        return regions[index].baseAddress
    }

    deinit {
        for region in regions { region.deallocate() }
    }
}

extension OpenFile {
    func mapSharedMemory(
        region: Int, byteCount: Int, extends: Bool, _ address: inout UnsafeMutableRawPointer?
    ) -> Int32 {
        guard !isDead else { return dead() }
        let memory = sharedMemory ?? file.sharedMemory ?? SharedMemory()
        sharedMemory = memory
        file.sharedMemory = memory
        address = memory.region(region, byteCount: byteCount, extends: extends)
        return SQLITE_OK
    }

    /// Locks or unlocks some of the eight slots, each of which has many shared holders or one
    /// exclusive holder.
    func lockSharedMemory(first: Int, count: Int, flags: Int32) -> Int32 {
        guard !isDead else { return dead() }
        let slots = UInt8(truncatingIfNeeded: (1 << count - 1) << first)
        if flags & SQLITE_SHM_UNLOCK != 0 {
            sharedSlots &= ~slots
            exclusiveSlots &= ~slots
            return SQLITE_OK
        }
        let isShared = flags & SQLITE_SHM_SHARED != 0
        for user in file.users where user !== self {
            let taken = isShared ? user.exclusiveSlots : user.exclusiveSlots | user.sharedSlots
            guard taken & slots == 0 else { return SQLITE_BUSY }
        }
        if isShared { sharedSlots |= slots } else { exclusiveSlots |= slots }
        return SQLITE_OK
    }

    func unmapSharedMemory() -> Int32 {
        sharedMemory = nil
        sharedSlots = 0
        exclusiveSlots = 0
        if !isDead, file.users.allSatisfy({ $0.sharedMemory == nil }) { file.sharedMemory = nil }
        return SQLITE_OK
    }
}

// MARK: - Odds and ends

extension OpenFile {
    func control(_ operation: Int32, _ argument: UnsafeMutableRawPointer?) -> Int32 {
        guard !isDead else { return dead() }
        guard let integer = argument?.assumingMemoryBound(to: Int32.self) else {
            return SQLITE_NOTFOUND
        }
        switch operation {
        case SQLITE_FCNTL_LOCKSTATE:
            integer.pointee = lockLevel
        case SQLITE_FCNTL_LAST_ERRNO:
            integer.pointee = disk.systemErrorNumber
        case SQLITE_FCNTL_PERSIST_WAL:
            // A negative number asks instead of setting.
            if integer.pointee >= 0 { persistsLog = integer.pointee != 0 }
            integer.pointee = persistsLog ? 1 : 0
        case SQLITE_FCNTL_POWERSAFE_OVERWRITE:
            integer.pointee = 1
        case SQLITE_FCNTL_HAS_MOVED:
            integer.pointee = name.map { disk.names[$0] !== file } ?? false ? 1 : 0
        default:
            return SQLITE_NOTFOUND
        }
        return SQLITE_OK
    }
}

/// Extended result codes, which Swift does not import because they are expressions.
enum ExtendedCode {
    static let read = SQLITE_IOERR | 1 << 8
    static let shortRead = SQLITE_IOERR | 2 << 8
    static let write = SQLITE_IOERR | 3 << 8
    static let sync = SQLITE_IOERR | 4 << 8
    static let truncate = SQLITE_IOERR | 6 << 8
    static let delete = SQLITE_IOERR | 10 << 8
    static let access = SQLITE_IOERR | 13 << 8
    static let deleteMissing = SQLITE_IOERR | 23 << 8
}
