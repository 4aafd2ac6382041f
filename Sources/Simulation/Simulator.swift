/// Runs seeds, and makes a failing history shorter.
package enum Simulator {
    /// - Returns: The trace's hash, or the failure.
    package static func run(_ options: SimulationOptions) -> Result<UInt64, SimulationFailure> {
        let world: World
        do {
            world = try World(options)
        } catch {
            return .failure(
                SimulationFailure(options: options, error, recentEvents: []))
        }
        do {
            try world.run()
            return .success(world.traceHash)
        } catch {
            return .failure(
                SimulationFailure(options: options, error, recentEvents: world.recentEvents))
        }
    }

    /// Looks for a shorter history with fewer faults in which the same invariant fails.
    ///
    /// - Parameter willRun: Told of each run before it begins.
    package static func shrink(
        _ failure: SimulationFailure, willRun: (SimulationOptions) -> Void = { _ in }
    ) -> SimulationFailure {
        func run(_ options: SimulationOptions) -> SimulationFailure? {
            willRun(options)
            guard case .failure(let found) = Self.run(options),
                found.invariant == failure.invariant
            else { return nil }
            return found
        }
        var best = failure
        // Fewer events first: halve as long as it fails, then take off a tenth at a time.
        for divisor in [2, 2, 2, 2, 2] {
            var options = best.options
            options.events = options.events / divisor
            guard options.events > 0, let shorter = run(options) else { break }
            best = shorter
        }
        for _ in 0..<20 {
            var options = best.options
            options.events -= max(1, options.events / 10)
            guard options.events > 0, let shorter = run(options) else { break }
            best = shorter
        }
        for fault in Fault.allCases where best.options.faults.contains(fault) {
            var options = best.options
            options.faults.remove(fault)
            if let simpler = run(options) { best = simpler }
        }
        return best
    }
}

/// A run in which an invariant did not hold.
package struct SimulationFailure: Error, Sendable {
    package var options: SimulationOptions
    /// Its number in `protocol/SIMULATION.md`; `nil` when an error of another kind ended the run.
    package var invariant: Int?
    package var violation: String
    package var recentEvents: [String]

    init(options: SimulationOptions, _ error: any Error, recentEvents: [String]) {
        self.options = options
        invariant = (error as? Violation)?.invariant
        violation = "\(error)"
        self.recentEvents = recentEvents
    }

    package var command: String { options.command }
}

extension SimulationOptions {
    /// Those of its faults that the seed has switched on.
    package var presentFaults: [Fault] {
        Fault.allCases.filter { faults.contains($0) && $0.rate(inRun: seed) > 0 }
    }

    /// The one command that runs it.
    package var command: String {
        var words = ["tools/simulate", "--seed \(seed)", "--events \(events)"]
        if let devices { words.append("--devices \(devices)") }
        if faults != Set(Fault.allCases) {
            let names = Fault.allCases.filter { faults.contains($0) }.map(\.rawValue)
            words.append("--faults " + (names.isEmpty ? "none" : names.joined(separator: ",")))
        }
        return words.joined(separator: " ")
    }
}
