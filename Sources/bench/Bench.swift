import ArgumentParser
import Dispatch
import Glibc
import HubLedger
import SyncCore
import TerminalUI

/// One measurement at a time; `tools/bench` runs them all, beside their floors and peers, and
/// writes the report.
///
/// Each command prints one JSON object on standard output. Times are of the parts named in it;
/// making the workload is in none of them.
@main
struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measures one figure; tools/bench measures them all.",
        subcommands: [
            WorkloadCommand.self, SeedCommand.self, PushCommand.self, MergeCommand.self,
            EditsCommand.self, SmallPushesCommand.self, PairsCommand.self, FrameCommand.self,
            CellsCommand.self, CellPairsCommand.self, CommitsCommand.self, NeedCommand.self,
            PullCommand.self, CountyCommand.self, EchoCommand.self,
        ])
}

struct WorkloadOptions: ParsableArguments {
    @Option(help: "Draws everything.")
    var seed: UInt64 = 1
    @Flag(help: "Free text (Zipf) instead of phrases.")
    var free = false

    var workload: Workload { Workload(seed: seed, text: free ? .free : .phrases) }
}

/// Where devices go on from one command to the next.
struct DeviceOptions: ParsableArguments {
    @OptionGroup var workload: WorkloadOptions
    @Option(help: "The file of devices that seed made; it is brought up to date.")
    var devices: String

    func states() throws -> [DeviceState] { try DeviceState.read(devices) }

    func save(_ states: [DeviceState]) throws { try DeviceState.write(states, to: devices) }
}

func report(_ members: [(String, JSONValue)]) { print(JSONValue.object(members).compact) }

func milliseconds(_ nanoseconds: Int64) -> JSONValue { .double(Double(nanoseconds) / 1e6) }

func median(_ values: [Int64]) -> Int64 {
    let sorted = values.sorted()
    return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
}

/// - Parameter share: From 0 to 1.
func percentile(_ sorted: [Int64], _ share: Double) -> Int64 {
    sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
}

struct WorkloadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "workload",
        abstract: "Prints needs, then edits, one a line with tabs, for peers and floors.")

    @OptionGroup var workload: WorkloadOptions
    @Option var needs = 1_000
    @Option(help: "Edits: number of the need, then field and value, twice.")
    var edits = 0

    func run() {
        for need in 0..<needs {
            let fields = workload.workload.line(need, grid: SeededLedger.grid(0))
            print(fields.joined(separator: "\t"))
        }
        for edit in 0..<edits {
            let number = edit * max(1, needs / max(1, edits)) % max(1, needs)
            let changes = workload.workload.edit(edit, of: UInt64(number))
            let values = changes.flatMap { ["\($0.field)", Workload.readable($0)] }
            print((["\(number)"] + values).joined(separator: "\t"))
        }
    }
}

struct SeedCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "seed",
        abstract: "Makes a ledger or fills it further, in this process, by real admissions.")

    @OptionGroup var options: DeviceOptions
    @Argument var ledger: String
    @Option var needs = 0
    @Option(help: "Enrolled devices; from three on, each new one has a grid of its own.")
    var count = 1
    @Option var grids = 1
    @Option(help: "Per cent of the needs that are edited later.")
    var edited = 0
    @Option(help: "Needs of one frame.")
    var frame = 1_000

    func run() throws {
        var states = access(options.devices, F_OK) == 0 ? try options.states() : []
        let seeded = try SeededLedger(
            path: ledger, grids: grids, workload: options.workload.workload)
        try seeded.enroll(&states, to: count, grids: grids)
        let began = monotonicNanoseconds()
        try seeded.fill(&states, to: needs, of: frame, editedPercent: edited)
        let spent = monotonicNanoseconds() - began
        try seeded.fold()
        try options.save(states)
        let figures = try seeded.figures()
        report([
            ("milliseconds", milliseconds(spent)), ("needs", .integer(figures.needs)),
            ("head", .integer(Int(clamping: figures.head))),
            ("open_conflicts", .integer(figures.openConflicts)),
            ("bytes", .integer(TextFile.size(ledger))),
        ])
    }
}

struct EchoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "echo", abstract: "Serves HTTP with nothing behind it.")

    /// Only this command is asynchronous: where all are, the main thread's wait for them stops
    /// valgrind.
    func run() {
        Task {
            do {
                try await EchoServer.run()
                Self.exit()
            } catch {
                Self.exit(withError: error)
            }
        }
        dispatchMain()
    }
}
