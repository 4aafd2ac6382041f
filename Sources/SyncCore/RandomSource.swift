/// Randomness that is handed in: the system's in production, a seeded one in the simulator.
package struct RandomSource: RandomNumberGenerator {
    private let source: () -> UInt64

    package init(_ source: @escaping () -> UInt64) { self.source = source }

    package static var system: RandomSource {
        RandomSource {
            var generator = SystemRandomNumberGenerator()
            return generator.next()
        }
    }

    package func next() -> UInt64 { source() }
}
