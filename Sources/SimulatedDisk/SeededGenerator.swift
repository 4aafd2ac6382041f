/// SplitMix64: fast, and fully determined by its seed.
///
/// - SeeAlso: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
package struct SeededGenerator: Sendable {
    private var state: UInt64

    package init(_ seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, which must be positive.
    package mutating func next(below bound: Int) -> Int {
        // One draw for one decision, so that a replay never shifts; the bias is below 2⁻⁴⁰.
        Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }
}
