import DeviceSync
import HubLedger
import NeedModel
import SQLiteStore
import SyncCore
import WireFormat

/// Makes and fills ledgers in this process, through the path that every batch takes.
///
/// Device 0 and device 1 share the first grid; the others follow, one grid each, round and round.
/// So device 1 can write concurrently with device 0, and the first grid stays as small as it is
/// while the others fill the ledger. From the second round on, every grid has a partner of the
/// device that writes there.
struct SeededLedger {
    static let banner = "152921"
    /// Towns and villages of the territory, as in the county that it was drawn from.
    private static let towns = 7
    private static let villages = 160
    /// Needs of the first grid in a ledger with more devices than two.
    static let quietNeeds = 200

    let path: String
    let workload: Workload
    private let ledger: Ledger

    init(path: String, grids: Int, workload: Workload) throws {
        self.path = path
        self.workload = workload
        let isNew = TextFile.size(path) == 0
        if isNew { try Self.create(path, grids: grids) }
        ledger = try Ledger(opening: path, clock: Self.wallMilliseconds)
    }

    /// Set up before any need was recorded: a stamp is never before what its writer had seen, so
    /// all would bear the moment of the import.
    private static func create(_ path: String, grids: Int) throws {
        let clock = { Workload.beginMilliseconds }
        try Ledger.create(
            at: path, banner: banner, name: "青草旗", offsetMinutes: 480, clock: clock)
        let ledger = try Ledger(opening: path, clock: clock)
        _ = try ledger.importTable(.territory, csv: territory(grids: grids))
        _ = try ledger.importTable(
            .categories,
            csv: "code,name\n"
                + Workload.categories.map { "\($0),\($0)" }.joined(separator: "\n") + "\n")
    }

    static func wallMilliseconds() -> Int64 { SystemClocks.now().wallMilliseconds }

    static func grid(_ index: Int) -> String {
        let village = index % villages
        let digits = { (number: Int, count: Int) in
            String(repeating: "0", count: count - String(number).count) + String(number)
        }
        return banner + digits(100 + village % towns, 3) + digits(1 + village, 3)
            + digits(1 + index / villages, 3)
    }

    static func grid(ofDevice index: Int, grids: Int) -> String {
        grid(index == 0 ? 0 : (index - 1) % grids)
    }

    private static func territory(grids: Int) -> String {
        var lines = ["code,name,level,parent", "\(banner),青草旗,banner,"]
        for town in 0..<towns { lines.append("\(banner)\(100 + town),第\(town)镇,town,\(banner)") }
        var seen: Set<String> = []
        for index in 0..<grids {
            let grid = grid(index)
            let village = String(grid.prefix(12))
            if seen.insert(village).inserted {
                lines.append("\(village),\(village)村,village,\(grid.prefix(9))")
            }
            lines.append("\(grid),\(grid)网格,grid,\(village)")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Enrols devices that are not there yet.
    func enroll(_ states: inout [DeviceState], to count: Int, grids: Int) throws {
        for index in states.count..<max(count, states.count) {
            let grid = Self.grid(ofDevice: index, grids: grids)
            var chance = Chance(workload.seed ^ 0xDE71CE, index)
            let replica = ReplicaID.random(using: &chance)
            let code = try ledger.invite(
                role: .worker, territory: grid, team: nil, name: "网格员\(index)",
                lifetimeSeconds: 3_600)
            let answer = try ledger.enroll(
                EnrollRequest(code: try InviteCode(code).code, replica: replica))
            states.append(
                DeviceState(
                    index: index, device: answer.assignment.device, token: answer.token,
                    grid: grid, replica: replica))
        }
    }

    /// Adds needs until there are so many, and edits as lifelike.
    ///
    /// - Parameters:
    ///   - frame: Needs of one frame.
    ///   - editedPercent: Of the needs, each edited once; 5 % of the edits of a frame, rounded
    ///     down, are concurrent with one of another device to the same field, in each grid that
    ///     has two.
    func fill(
        _ states: inout [DeviceState], to needs: Int, of frame: Int, editedPercent: Int
    ) throws {
        let link = Link(ledger)
        let devices = states.map { WireDevice($0, workload: workload) }
        defer { states = devices.map(\.state) }
        var total = states.reduce(0) { $0 + $1.needs }
        // The first device of each grid writes, the second one is its partner.
        var writers: [WireDevice] = []
        var partners: [String: WireDevice] = [:]
        var seen: Set<String> = []
        for device in devices {
            if seen.insert(device.state.grid).inserted {
                writers.append(device)
            } else if partners[device.state.grid] == nil {
                partners[device.state.grid] = device
            }
        }
        var turn = 1
        while total < needs {
            let device: WireDevice
            var count = min(frame, needs - total)
            if writers.count == 1 {
                device = writers[0]
            } else if writers[0].state.needs < Self.quietNeeds {
                device = writers[0]
                count = min(count, Self.quietNeeds - device.state.needs)
            } else {
                device = writers[turn]
                turn = turn + 1 < writers.count ? turn + 1 : 1
            }
            try push(
                device, count, editedPercent, partner: partners[device.state.grid], link)
            total += count
        }
        // What the others have not seen of the first grid.
        for device in devices.prefix(2) { try device.send([], over: link) }
        try ledger.flush()
    }

    private func push(
        _ device: WireDevice, _ count: Int, _ editedPercent: Int, partner: WireDevice?, _ link: Link
    ) throws {
        let first = device.state.nextNumber
        try device.admit(device.create(count), over: link)
        let edited = count * editedPercent / 100
        guard edited > 0 else { return }
        // Every third need or so, in order, in the time until the next need is recorded.
        let numbers = (0..<edited).map { first + UInt64($0 * count / edited) }
        let times = Workload.editedMilliseconds(
            edited, before: Workload.recordedMilliseconds(first + UInt64(count)))
        if let partner {
            try partner.send([], over: link)
            let contested = zip(numbers, times).prefix(edited / 20).map {
                partner.edit(device.state.record($0), Int($0) + 5_000_000, at: $1 - 30_000)
            }
            try partner.send(contested, over: link)
        }
        // Written before the partner's edits were pulled: concurrent with them.
        let edits = zip(numbers, times).map {
            device.edit(device.state.record($0), Int($0), at: $1)
        }
        try device.admit(edits, over: link)
    }

    /// Folds the log, so that the file is all of the ledger.
    func fold() throws {
        try ledger.flush()
        let connection = try Connection(path: path, mode: .readWrite)
        // Only a connection that has read knows of the log.
        _ = try connection.first("SELECT 1 FROM sqlite_schema") { _ in true }
        try connection.checkpoint(.truncate)
    }

    func figures() throws -> LedgerFigures { try ledger.figures() }
}
