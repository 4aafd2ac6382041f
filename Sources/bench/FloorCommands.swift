import ArgumentParser
import DeviceJournal
import DeviceSync
import NeedModel
import SyncCore
import TerminalUI

extension RawCells.Layout: ExpressibleByArgument {}

struct CellsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cells", abstract: "The same needs and edits as rows of raw SQLite.")

    @OptionGroup var workload: WorkloadOptions
    @Argument(help: "A database to make.")
    var path: String
    @Option var needs = 10_000
    @Option(help: "Needs of one transaction.")
    var perTransaction = 1_000
    @Option(help: "Transactions of edits afterwards.")
    var pushes = 0
    @Option(help: "Edits of one transaction.")
    var edits = 600
    @Option(help: "clustered or indexed.")
    var layout = RawCells.Layout.clustered
    @Option(help: "Devices that recorded the needs in the same days, a transaction each in turn.")
    var writers = 1

    func run() throws {
        let cells = try RawCells(path: path, layout: layout)
        let workload = workload.workload
        func record(_ number: Int) -> RecordID {
            let turn = (number - 1) / perTransaction
            let replica = ReplicaID(
                truncating: workload.seed &+ 0xF100 &+ UInt64(turn % writers))
            // Of its own needs, so that the ids of several devices interleave.
            let own = UInt64(number - (turn - turn / writers) * perTransaction)
            return RecordID(
                milliseconds: Workload.recordedMilliseconds(own), replica: replica, number: own)
        }
        var created: Int64 = 0
        for start in stride(from: 1, through: needs, by: perTransaction) {
            let batch = (start..<min(start + perTransaction, needs + 1)).map {
                (record($0), workload.need($0, grid: SeededLedger.grid(0)))
            }
            let began = monotonicNanoseconds()
            try cells.insert(batch, stamp: began)
            created += monotonicNanoseconds() - began
        }
        var edited: Int64 = 0
        var chance = Chance(workload.seed, needs)
        for push in 0..<pushes {
            // In the order of the rows, as a device's edits come.
            let numbers = (0..<edits).map { _ in 1 + chance.below(needs) }.sorted()
            let batch = numbers.enumerated().map { index, number -> (RecordID, [Change]) in
                (record(number), workload.edit(push * edits + index, of: UInt64(number)))
            }
            let began = monotonicNanoseconds()
            try cells.update(batch, stamp: began)
            edited += monotonicNanoseconds() - began
        }
        report([
            ("needs", .integer(needs)), ("milliseconds", milliseconds(created)),
            ("needs_per_second", .double(Double(needs) / (Double(created) / 1e9))),
            (
                "edits_per_second",
                .double(
                    edited == 0 ? 0 : Double(pushes * edits) / (Double(edited) / 1e9))
            ), ("bytes", .integer(TextFile.size(path))),
        ])
    }
}

struct CellPairsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cell-pairs",
        abstract: "10 cells written in one transaction and read, in the database that cells made.")

    @OptionGroup var workload: WorkloadOptions
    @Argument var path: String
    @Option var pairs = 100

    func run() throws {
        let cells = try RawCells(path: path)
        let workload = workload.workload
        let replica = ReplicaID(truncating: workload.seed &+ 0xF100)
        var times: [Int64] = []
        for pair in 0..<pairs {
            let batch = (0..<5).map { index -> (RecordID, [Change]) in
                let number = UInt64(1 + (pair * 5 + index) % 200)
                let id = RecordID(
                    milliseconds: Workload.recordedMilliseconds(number), replica: replica,
                    number: number)
                return (id, workload.edit(pair * 5 + index, of: number))
            }
            let began = monotonicNanoseconds()
            try cells.update(batch, stamp: began)
            for (id, _) in batch {
                guard cells.read(id) > 0 else { throw BenchError("a row is missing") }
            }
            times.append(monotonicNanoseconds() - began)
        }
        report([("median_milliseconds", milliseconds(median(times)))])
    }
}

struct CommitsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commits",
        abstract: "Raw SQLite, ten edits a transaction, one commit after the other: the fsync rate."
    )

    @OptionGroup var workload: WorkloadOptions
    @Argument(help: "A database to make.")
    var path: String
    @Option var seconds = 3.0

    func run() throws {
        let cells = try RawCells(path: path)
        let workload = workload.workload
        let replica = ReplicaID(truncating: 7)
        var times: [Int64] = []
        let end = monotonicNanoseconds() + Int64(seconds * 1e9)
        while monotonicNanoseconds() < end {
            let batch = (1...10).map { number -> (RecordID, [Change]) in
                let id = RecordID(milliseconds: 1, replica: replica, number: UInt64(number))
                return (id, workload.edit(times.count + number, of: UInt64(number)))
            }
            let began = monotonicNanoseconds()
            try cells.update(batch, stamp: began)
            times.append(monotonicNanoseconds() - began)
        }
        report([
            ("commits_per_second", .double(Double(times.count) / seconds)),
            ("median_milliseconds", milliseconds(median(times))),
        ])
    }
}

/// The journal's command against one row with all of the need in plain SQLite, in turns.
struct NeedCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "need", abstract: "Needs recorded one by one in this process.")

    @OptionGroup var workload: WorkloadOptions
    @Option var url: String
    @Option(help: "Of a worker.")
    var code: String
    @Argument(help: "A directory to make journal and floor in.")
    var directory: String
    @Option var count = 200

    func run() throws {
        let journal = try Journal(path: directory + "/journal.sqlite", creating: true)
        let invite = try InviteCode(code)
        _ = try SyncClient(enrolling: url, code: invite, journal: journal).enroll(invite)
        let cells = try RawCells(path: directory + "/floor.sqlite", autocheckpointFrames: 128)
        let grid = SeededLedger.grid(0)
        var journalTimes: [Int64] = []
        var floorTimes: [Int64] = []
        for number in 1...count {
            let changes = workload.workload.need(number, grid: grid)
            let edits = changes.compactMap { change -> FieldEdit? in
                // Of this version only: the journal checks what it is given.
                guard let field = NeedField(rawValue: change.field),
                    let rule = FieldRule.rule(kind: .need, field: change.field),
                    let bytes = change.value, let value = FieldValue(rule.form, bytes: bytes)
                else { return nil }
                return FieldEdit(field, value)
            }
            let content = edits.flatMap { $0.value?.bytes ?? [] }
            let id = RecordID(
                milliseconds: Workload.recordedMilliseconds(UInt64(number)),
                replica: ReplicaID(truncating: 9), number: UInt64(number))
            let began = monotonicNanoseconds()
            try cells.insertNeed(id, content: content)
            let between = monotonicNanoseconds()
            _ = try journal.addNeed(edits, clocks: SystemClocks.now())
            journalTimes.append(monotonicNanoseconds() - between)
            floorTimes.append(between - began)
        }
        report([
            ("median_milliseconds", milliseconds(median(journalTimes))),
            ("floor_median_milliseconds", milliseconds(median(floorTimes))),
        ])
    }
}

struct PullCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull", abstract: "A fresh device enrols and pulls all it may hold.")

    @Option var url: String
    @Option var code: String
    @Argument(help: "A journal to make.")
    var path: String

    func run() throws {
        let journal = try Journal(path: path, creating: true)
        let invite = try InviteCode(code)
        let client = try SyncClient(enrolling: url, code: invite, journal: journal)
        let began = monotonicNanoseconds()
        let answer = try client.enroll(invite)
        let spent = monotonicNanoseconds() - began
        if let failure = answer.failure { throw failure }
        report([
            ("milliseconds", milliseconds(spent)),
            ("needs", .integer(try journal.status().needs)),
            ("round_trips", .integer(answer.roundTrips)),
            ("bytes_up", .integer(answer.bytesUp)), ("bytes_down", .integer(answer.bytesDown)),
        ])
    }
}
