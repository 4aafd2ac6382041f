import ArgumentParser
import HubLedger
import NeedModel
import TerminalUI

struct DevicesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices", abstract: "List the enrolled devices.",
        discussion: """
            --json prints an array of objects: id, name, role (worker, team, office), territory, \
            team (the one that does not apply is null), enrolled and last_sync (RFC 3339; last_sync \
            is null before the first), behind (changes in the ledger that it has not pulled), \
            refused (groups of its changes), lost (changes that no ledger will get), revoked.
            """)

    @OptionGroup var common: CommonOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        try await common.run { program in
            let ledger = try program.openLedger()
            let offset = try ledger.info().offsetMinutes
            let devices = try ledger.devices()
            if json {
                program.console.out(
                    .array(devices.map { Self.json($0, offset: offset) }), isPretty: true)
            } else {
                program.console.out(Self.table(devices, offset: offset, program: program))
            }
        }
    }

    private static func table(
        _ devices: [DeviceReport], offset: Int, program: Program
    ) -> Table {
        let language = program.language
        var table = Table([
            .init(Phrase("ID", "编号")(language), alignment: .right),
            .init(Phrase("NAME", "名称")(language), isFlexible: true),
            .init(Phrase("ROLE", "角色")(language)),
            .init(Phrase("PLACE", "辖区/队伍")(language)),
            .init(Phrase("LAST SYNC", "最近同步")(language)),
            .init(Phrase("BEHIND", "落后")(language), alignment: .right),
            .init(Phrase("REFUSED", "被拒")(language), alignment: .right),
            .init(""),
        ])
        for report in devices {
            let device = report.device
            var marks: [String] = []
            if device.isRevoked { marks.append(Phrase("revoked", "已停用")(language)) }
            if report.lostChanges > 0 {
                marks.append(
                    Phrase("\(report.lostChanges) lost", "丢失 \(report.lostChanges)")(language))
            }
            table.append([
                .init(String(device.id)), .init(device.name),
                .init(device.role.phrase(language)),
                .init(device.role == .team ? device.team : device.territory),
                .init(
                    report.lastSyncMilliseconds.map { program.time($0, offsetMinutes: offset) }
                        ?? Phrase("never", "从未")(language),
                    report.lastSyncMilliseconds == nil ? .yellow : .plain),
                .init(String(report.behind)), .init(String(report.refusedGroups)),
                .init(marks.joined(separator: ", "), .red),
            ])
        }
        return table
    }

    private static func json(_ report: DeviceReport, offset: Int) -> JSONValue {
        let device = report.device
        func time(_ milliseconds: Int64) -> JSONValue {
            .string(CivilTime.rfc3339(milliseconds: milliseconds, offsetMinutes: offset))
        }
        return [
            "id": .integer(Int(device.id)), "name": .string(device.name),
            "role": .string(device.role.name),
            "territory": device.territory.isEmpty ? nil : .string(device.territory),
            "team": device.team.isEmpty ? nil : .string(device.team),
            "enrolled": time(report.enrolledMilliseconds),
            "last_sync": report.lastSyncMilliseconds.map(time) ?? nil,
            "behind": .integer(Int(clamping: report.behind)),
            "refused": .integer(report.refusedGroups),
            "lost": .integer(Int(clamping: report.lostChanges)),
            "revoked": .bool(device.isRevoked),
        ]
    }
}

struct RevokeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "End a device's access.",
        discussion: "What it brought before stays. A new code enrols the machine again.")

    @OptionGroup var common: CommonOptions

    @Argument(help: "The device's number, as devices lists it.")
    var device: Int64

    func run() async throws {
        try await common.run { program in
            try program.openLedger().revoke(device: device)
            let words = Phrase("device \(device) was revoked", "设备 \(device) 已停用")
            program.console.note("\(words, program.language)")
        }
    }
}
