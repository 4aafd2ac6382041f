import SimulatedDisk
import SyncCore

/// The one source of randomness of a run, fully determined by its seed; a class, because what is
/// drawn in one place must not be drawn again in another.
package final class Chance: RandomNumberGenerator {
    private var generator: SeededGenerator

    package init(seed: UInt64) { generator = SeededGenerator(seed) }

    package func next() -> UInt64 { generator.next() }

    /// From 0 to `bound - 1`.
    func below(_ bound: Int) -> Int { generator.next(below: bound) }

    func happens(_ probability: Double) -> Bool {
        Double(next() >> 11) * 0x1p-53 < probability
    }

    func choose<Element>(_ elements: [Element]) -> Element? {
        elements.isEmpty ? nil : elements[below(elements.count)]
    }

    /// A stream of its own, so that what one part draws cannot shift another's.
    func split() -> Chance { Chance(seed: next()) }

    var source: RandomSource { RandomSource { self.next() } }
}
