import SyncCore
import Testing

@Suite struct IdentifiersTests {
    private func parts(
        _ generator: inout SplitMix64
    ) -> (milliseconds: Int64, replica: ReplicaID, number: UInt64) {
        let mask = Int64(ReplicaID.bitMask)
        return (
            generator.wildNumber() & mask, ReplicaID(truncating: generator.next()),
            [0, 1, RecordID.numberMask, generator.next() & RecordID.numberMask]
                .randomElement(using: &generator)!
        )
    }

    @Test func partsComeBackOutOfARecordID() {
        forEachSeed(20_000) { generator in
            let (milliseconds, replica, number) = parts(&generator)
            let id = RecordID(milliseconds: milliseconds, replica: replica, number: number)
            try check(id.milliseconds == milliseconds, "\(id)")
            try check(id.replica == replica, "\(id)")
            try check(id.number == number, "\(id)")
            try check(id.isWellFormed, "\(id)")
        }
    }

    @Test func extremesComeBackOutOfARecordID() {
        for milliseconds in [0, 1, (1 << 48) - 1] as [Int64] {
            for replica in [0, 1, ReplicaID.bitMask] {
                for number in [0, 1, RecordID.numberMask] {
                    let id = RecordID(
                        milliseconds: milliseconds, replica: ReplicaID(truncating: replica),
                        number: number)
                    #expect(id.milliseconds == milliseconds)
                    #expect(id.replica.rawValue == replica)
                    #expect(id.number == number)
                    #expect(id.isWellFormed)
                }
            }
        }
    }

    /// Clocks before 1970 and after the year 10889 keep their low 48 bits.
    @Test func anyClockMakesAnID() {
        for milliseconds in [.min, -1, .max] as [Int64] {
            let id = RecordID(
                milliseconds: milliseconds, replica: ReplicaID(truncating: 7), number: 1)
            #expect(id.milliseconds == milliseconds & ((1 << 48) - 1))
            #expect(id.isWellFormed)
        }
    }

    @Test func textAndBytesRoundTrip() {
        forEachSeed(5_000) { generator in
            let id = RecordID(high: generator.next(), low: generator.next())
            try check(RecordID(id.description) == id, id.description)
            try check(RecordID(id.digits) == id, id.digits)
            try check(RecordID(id.description.uppercased()) == id, id.description)
            try check(RecordID(bytes: id.bytes) == id, id.description)
            try check(id.bytes.count == 16 && id.description.utf8.count == 36, id.description)
        }
    }

    @Test func idsOrderAsTheirTextAndBytes() {
        forEachSeed(5_000) { generator in
            let first = RecordID(high: generator.next() >> 62, low: generator.next())
            let second = RecordID(high: generator.next() >> 62, low: generator.next())
            try check((first < second) == (first.description < second.description), "text")
            try check((first < second) == first.bytes.lexicographicallyPrecedes(second.bytes))
        }
    }

    @Test(arguments: [
        "", "0", String(repeating: "0", count: 31), String(repeating: "0", count: 33),
        "0000000g-0000-7000-8000-000000000001", "00000000-0000-7000-8000-00000000000 ",
        "００000000-0000-7000-8000-000000000001",
    ])
    func otherTextIsNoRecordID(_ text: String) { #expect(RecordID(text) == nil) }

    @Test(arguments: [0, 15, 17])
    func otherByteCountsAreNoRecordID(_ count: Int) {
        #expect(RecordID(bytes: [UInt8](repeating: 0, count: count)) == nil)
    }

    @Test func neighboursDifferInTheirLastDigits() {
        let replica = ReplicaID(truncating: 0x1234_5678_9abc)
        func ends(of numbers: some Sequence<UInt64>, digits: Int) -> Set<Substring> {
            Set(
                numbers.map {
                    RecordID(milliseconds: 0, replica: replica, number: $0).digits.suffix(digits)
                })
        }
        // Multiplying by an odd number permutes the low 8 bits too, and the low 12.
        #expect(ends(of: 1...256, digits: 2).count == 256)
        let ofOneKind = stride(from: UInt64(1), to: 4_096, by: Int(RecordID.kindsApart))
        #expect(ends(of: ofOneKind, digits: 3).count == 1_024)
    }

    @Test func replicasAreNeverDrawnAsNone() {
        forEachSeed(1_000) { generator in
            try check(ReplicaID.random(using: &generator) != .none)
        }
        #expect(ReplicaID(truncating: .max).description == "ffffffffffff")
        #expect(ReplicaID(truncating: 0xa).description == "00000000000a")
        #expect(ReplicaID(truncating: 1 << 48) == .none)
    }
}
