/// How an unsynced write fares in one power loss; the rest to 100 percent is lost.
struct SurvivalOdds {
    /// Of those that could be torn or lost, how many are kept whole.
    let keptPercent: Int
    /// Of those that are not kept, how many are torn rather than lost.
    let tornPercent: Int
}

private let zeros = [UInt8](repeating: 0, count: 4_096)

/// The bytes of a file, seen and durable, and what lies between the two.
final class StoredFile {
    /// Ascends in the order of creation.
    let number: Int

    /// A temporary file has nothing durable.
    let isTemporary: Bool

    /// Whether a name leads here, as the running system sees it.
    var isLinked: Bool

    /// Who has it open, and so may hold locks.
    var users: [OpenFile] = []

    /// The shared memory of the log that belongs to this database, while someone uses it.
    var sharedMemory: SharedMemory?

    /// What everybody reads.
    private(set) var contents: [UInt8] = []

    /// What the medium holds, but for the changes below.
    private var durable: [UInt8] = []

    /// Writes and truncations since the last sync, in order.
    private var unsynced: [Change] = []
    /// The bytes of those writes, one after another: cheaper than an array for each.
    private var unsyncedBytes: [UInt8] = []

    /// Where a kernel would have begun to write back by itself; so a file that nobody ever syncs
    /// costs bounded memory.
    private static let unsyncedByteCountMax = 16 << 20

    private enum Change {
        /// `start` is where the bytes begin among `unsyncedBytes`.
        case write(offset: Int, start: Int, count: Int)
        case truncate(byteCount: Int)
    }

    init(number: Int, isTemporary: Bool) {
        self.number = number
        self.isTemporary = isTemporary
        isLinked = !isTemporary
    }

    var byteCount: Int { contents.count }

    func forgetUsers() {
        users.removeAll()
        sharedMemory = nil
    }

    /// Copies what lies at `offset` and returns how many bytes there were.
    func read(into destination: UnsafeMutableRawBufferPointer, offset: Int) -> Int {
        let count = min(destination.count, max(contents.count - offset, 0))
        guard count > 0 else { return 0 }
        contents.withUnsafeBytes {
            destination.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + count]))
        }
        return count
    }

    func write(_ bytes: UnsafeRawBufferPointer, offset: Int) {
        guard !bytes.isEmpty else { return }
        Self.overwrite(&contents, at: offset, with: bytes)
        guard !isTemporary else { return }
        if unsyncedBytes.count + bytes.count > Self.unsyncedByteCountMax { sync() }
        unsynced.append(.write(offset: offset, start: unsyncedBytes.count, count: bytes.count))
        unsyncedBytes.append(contentsOf: bytes)
    }

    func truncate(to byteCount: Int) {
        guard byteCount != contents.count else { return }
        Self.resize(&contents, to: byteCount)
        if !isTemporary { unsynced.append(.truncate(byteCount: byteCount)) }
    }

    func sync() {
        unsyncedBytes.withUnsafeBytes { bytes in
            for change in unsynced {
                switch change {
                case .write(let offset, let start, let count):
                    Self.overwrite(
                        &durable, at: offset,
                        with: UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]))
                case .truncate(let byteCount):
                    Self.resize(&durable, to: byteCount)
                }
            }
        }
        forgetUnsynced()
    }

    func replaceDurably(with bytes: [UInt8]) {
        contents = bytes
        durable = bytes
        forgetUnsynced()
    }

    /// Decides about each unsynced change; the file then is what survived.
    func loseUnsynced(_ odds: SurvivalOdds, fate: inout SeededGenerator) {
        guard !isTemporary else { return }
        settle(odds, fate: &fate)
        contents = durable
    }

    /// Fails a sync as Linux does: each change is durable or never will be, and still seen.
    func dropUnsynced(fate: inout SeededGenerator) {
        settle(SurvivalOdds(keptPercent: 50, tornPercent: 50), fate: &fate)
    }

    func flip(offset: Int, bit: Int) {
        contents[offset] ^= 1 << bit
        if offset < durable.count { durable[offset] ^= 1 << bit }
    }

    private func settle(_ odds: SurvivalOdds, fate: inout SeededGenerator) {
        unsyncedBytes.withUnsafeBytes { bytes in
            for change in unsynced {
                let isKept = fate.next(below: 100) < odds.keptPercent
                switch change {
                case .write(let offset, let start, let count):
                    let whole = UnsafeRawBufferPointer(rebasing: bytes[start..<start + count])
                    if isKept {
                        Self.overwrite(&durable, at: offset, with: whole)
                    } else if fate.next(below: 100) < odds.tornPercent {
                        tear(whole, offset: offset, fate: &fate)
                    } else if durable.count < offset + count, fate.next(below: 2) == 0 {
                        // The length got to the disk and the bytes did not.
                        Self.resize(&durable, to: offset + count)
                    }
                case .truncate(let byteCount):
                    if isKept { Self.resize(&durable, to: byteCount) }
                }
            }
        }
        forgetUnsynced()
    }

    /// Lets any subset of a write's sectors survive.
    private func tear(
        _ bytes: UnsafeRawBufferPointer, offset: Int, fate: inout SeededGenerator
    ) {
        var start = 0
        while start < bytes.count {
            // Sectors are those of the disk, not of the write.
            let sector = Disk.sectorByteCount
            let end = min(((offset + start) / sector + 1) * sector - offset, bytes.count)
            if fate.next(below: 2) == 0 {
                Self.overwrite(
                    &durable, at: offset + start,
                    with: UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
            }
            start = end
        }
    }

    private func forgetUnsynced() {
        unsynced.removeAll(keepingCapacity: true)
        unsyncedBytes.removeAll(keepingCapacity: true)
    }

    private static func resize(_ bytes: inout [UInt8], to byteCount: Int) {
        if byteCount <= bytes.count {
            bytes.removeLast(bytes.count - byteCount)
        } else {
            // Appending a repeated element takes a third of a history's time in a debug build.
            while bytes.count < byteCount {
                bytes.append(contentsOf: zeros[..<min(byteCount - bytes.count, zeros.count)])
            }
        }
    }

    private static func overwrite(
        _ bytes: inout [UInt8], at offset: Int, with source: UnsafeRawBufferPointer
    ) {
        if offset == bytes.count {
            bytes.append(contentsOf: source)
            return
        }
        if offset + source.count > bytes.count { resize(&bytes, to: offset + source.count) }
        bytes.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[offset..<offset + source.count])
                .copyMemory(from: source)
        }
    }
}
