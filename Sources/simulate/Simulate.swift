import ArgumentParser
import Simulation

#if canImport(Glibc)
    import Glibc
#endif

/// Runs the simulator over many seeds; `tools/simulate` builds and starts it.
@main
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Runs both sides' production code through faults, and checks every invariant.",
        discussion: "Faults: " + Fault.allCases.map(\.rawValue).joined(separator: ", ")
            + "\n\nStories: " + Scenario.all.map(\.name).joined(separator: ", "))

    @Option(help: "The first seed.")
    var seed: UInt64 = 1
    @Option(help: "How many seeds; 1, or with --minutes as many as fit, if not given.")
    var runs: Int?
    @Option(help: "Stop after so many minutes.")
    var minutes: Double?
    @Option(help: "1 to 20; 2 to 5 by the seed if not given.")
    var devices: Int?
    @Option(help: "Events of one run.")
    var events: Int = 300
    @Option(help: "Names with commas, all, none, or few: one to five, others in each run.")
    var faults: String = "all"
    @Option(help: "Play one story by its name instead, or all: another project's bug, here.")
    var scenario: String?

    func run() throws {
        if let scenario {
            guard seed == 1, runs == nil, minutes == nil, devices == nil, faults == "all" else {
                throw ValidationError("a story goes the same way each time: give --scenario alone")
            }
            return try play(scenario)
        }
        let allowed: (_ seed: UInt64) -> Set<Fault>
        switch faults {
        case "all": allowed = { _ in Set(Fault.allCases) }
        case "few": allowed = Fault.few
        case "none": allowed = { _ in [] }
        default:
            let named = Set(
                try faults.split(separator: ",").map { name in
                    guard let fault = Fault(rawValue: String(name)) else {
                        throw ValidationError("no fault is called \(name)")
                    }
                    return fault
                })
            allowed = { _ in named }
        }
        let runs = runs ?? (minutes == nil ? 1 : .max)
        guard runs > 0, events > 0, devices.map({ (1...20).contains($0) }) ?? true,
            minutes ?? 1 > 0
        else {
            throw ValidationError(
                "runs, events, minutes and devices are positive, devices at most 20")
        }
        guard !faults.isEmpty else {
            throw ValidationError("give --faults all, few, none or names")
        }
        say(
            "seed \(seed), runs \(runs == .max ? "without end" : "\(runs)"), "
                + "minutes \(minutes.map { "\($0)" } ?? "without end"), "
                + "devices \(devices.map { "\($0)" } ?? "by the seed"), events \(events), "
                + "faults \(faults)")
        TrapReport.install()
        let began = Self.seconds()
        var said = began
        var done = 0
        for offset in 0..<UInt64(runs) {
            if let minutes, Self.seconds() - began > minutes * 60 { break }
            let seed = seed &+ offset
            let options = SimulationOptions(
                seed: seed, devices: devices, events: events, faults: allowed(seed))
            TrapReport.note(options.command)
            if runs == 1 {
                let present = options.presentFaults.map(\.rawValue).joined(separator: ", ")
                say("the seed's faults: \(present.isEmpty ? "none" : present)")
            }
            switch Simulator.run(options) {
            case .success(let hash):
                done += 1
                if runs == 1 { print("trace \(String(hash, radix: 16))") }
            case .failure(let failure):
                try report(failure)
            }
            if Self.seconds() - said >= Self.secondsBetweenReports {
                said = Self.seconds()
                say("\(done) runs to seed \(options.seed), \(Self.rate(done, since: began))")
            }
        }
        print("\(done) runs clean, \(Self.rate(done, since: began))")
    }

    private func play(_ name: String) throws {
        let stories = Scenario.all.filter { name == "all" || $0.name == name }
        guard !stories.isEmpty else { throw ValidationError("no story is called \(name)") }
        var failures = 0
        for story in stories {
            do {
                try story.play()
                say("\(story.name) (\(story.bug)): holds")
            } catch {
                failures += 1
                say("\(story.name) (\(story.bug)): FAILED: \(error)")
            }
        }
        if failures > 0 { throw ExitCode(1) }
    }

    private func report(_ failure: SimulationFailure) throws {
        say("seed \(failure.options.seed) FAILED: \(failure.violation)")
        say("replay: \(failure.command)\nshrinking…")
        let small = Simulator.shrink(failure) { TrapReport.note($0.command) }
        print(small.violation)
        for event in small.recentEvents { print("  \(event)") }
        print("replay: \(small.command)")
        throw ExitCode(1)
    }

    /// Prints at once, also into a pipe.
    private func say(_ line: String) {
        print(line)
        fflush(nil)
    }

    private static let secondsBetweenReports = 10.0

    private static func seconds(_ clock: clockid_t = CLOCK_MONOTONIC) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func rate(_ count: Int, since began: Double) -> String {
        func rate(_ seconds: Double) -> Int { Int(Double(count) / max(seconds, 0.001)) }
        return "\(rate(seconds() - began)) a second, "
            + "\(rate(seconds(CLOCK_PROCESS_CPUTIME_ID))) a second of processor time"
    }
}
