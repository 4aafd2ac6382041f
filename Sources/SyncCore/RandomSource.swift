/// Randomness that is handed in: the system's in production, a seeded one in the simulator.
package struct RandomSource: RandomNumberGenerator {
    private let source: () -> UInt64

    package init(_ source: @escaping () -> UInt64) { self.source = source }

    package func next() -> UInt64 { source() }
}
