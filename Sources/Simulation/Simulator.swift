/// Runs seeds, and makes a failing history shorter.
package enum Simulator {
    /// - Returns: The trace's hash, or the failure.
    package static func run(_ options: SimulationOptions) -> Result<UInt64, SimulationFailure> {
        let world: World
        do {
            world = try World(options)
        } catch {
            return .failure(
                SimulationFailure(options: options, violation: "\(error)", recentEvents: []))
        }
        do {
            try world.run()
            return .success(world.traceHash)
        } catch {
            return .failure(
                SimulationFailure(
                    options: options, violation: "\(error)", recentEvents: world.recentEvents))
        }
    }

    /// Looks for a shorter history with fewer faults that still fails.
    ///
    /// - Parameter willRun: Told of each run before it begins.
    package static func shrink(
        _ failure: SimulationFailure, willRun: (SimulationOptions) -> Void = { _ in }
    ) -> SimulationFailure {
        func run(_ options: SimulationOptions) -> Result<UInt64, SimulationFailure> {
            willRun(options)
            return Self.run(options)
        }
        var best = failure
        // Fewer events first: halve as long as it fails, then take off a tenth at a time.
        for divisor in [2, 2, 2, 2, 2] {
            var options = best.options
            options.events = options.events / divisor
            guard options.events > 0, case .failure(let shorter) = run(options) else { break }
            best = shorter
        }
        for _ in 0..<20 {
            var options = best.options
            options.events -= max(1, options.events / 10)
            guard options.events > 0, case .failure(let shorter) = run(options) else { break }
            best = shorter
        }
        for fault in Fault.allCases where best.options.faults.contains(fault) {
            var options = best.options
            options.faults.remove(fault)
            if case .failure(let simpler) = run(options) { best = simpler }
        }
        return best
    }
}

/// A run in which an invariant did not hold.
package struct SimulationFailure: Error, Sendable {
    package var options: SimulationOptions
    package var violation: String
    package var recentEvents: [String]

    package var command: String { options.command }
}

extension SimulationOptions {
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
