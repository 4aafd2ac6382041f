import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore
import WireFormat

/// The centre's machine: the production ledger on a disk that can fail.
final class SimulatedHub {
    let disk: Disk
    private let chance: Chance
    private(set) var ledger: Ledger?
    private let clock: () -> Int64
    /// The operator's newest backup.
    var backup: Disk.Image?

    static let path = "ledger.sqlite"

    init(chance: Chance, clock: @escaping () -> Int64) throws {
        self.chance = chance
        self.clock = clock
        disk = Disk(seed: chance.next())
        try Ledger.create(
            at: Self.path, banner: "15", name: "旗", offsetMinutes: 480, clock: clock,
            vfs: disk.vfsName)
        try open()
    }

    func open() throws {
        ledger = try Ledger(
            opening: Self.path, clock: clock, random: chance.source, vfs: disk.vfsName)
    }

    func stop() { ledger = nil }

    func close() {
        ledger = nil
        disk.close()
    }
}
