import SyncCore
import Testing
import WireFormat

@Suite struct FrameTests {
    /// Long enough to be compressed also without the dictionary.
    private let small = Array(
        "小区里缺路灯，晚上老人出门不安全。村里缺路灯，晚上老人出门不安全。".utf8)

    private func error(_ frame: [UInt8]) -> FrameError? {
        do {
            _ = try Frame.decode(frame)
            return nil
        } catch {
            return error
        }
    }

    /// Puts the right checksum on a frame that was changed: CRC-32 of zlib, bit by bit.
    private func sealed(_ frame: [UInt8]) -> [UInt8] {
        var crc: UInt32 = .max
        for byte in frame.dropFirst(7) {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 1 ? 0xedb8_8320 : 0) }
        }
        var result = frame
        for index in 0..<4 { result[3 + index] = UInt8(truncatingIfNeeded: ~crc >> (8 * index)) }
        return result
    }

    private func withLength(_ length: UInt32, _ frame: [UInt8]) -> [UInt8] {
        var result = frame
        for index in 0..<4 { result[7 + index] = UInt8(truncatingIfNeeded: length >> (8 * index)) }
        return sealed(result)
    }

    @Test func messagesRoundTripWithAndWithoutDictionary() {
        forEachSeed(600) { generator in
            let message = generator.bytes(countMax: generator.oneIn(10) ? 100_000 : 300)
            for usesDictionary in [false, true] {
                let frame = try Frame.encode(
                    message, usesDictionary: usesDictionary, namesDictionary: true)
                let decoded = try Frame.decode(frame)
                try check(decoded.message == message, "\(message.count) bytes")
                try check(decoded.usedDictionary == usesDictionary)
            }
        }
    }

    @Test func theLayoutIsThatOfTheSpecification() throws {
        let frame = try Frame.encode(small, usesDictionary: false)
        #expect(Array(frame[0..<3]) == [0x57, 0x59, 1])
        #expect(sealed(frame) == frame)
        #expect(Array(frame[7..<11]) == [UInt8(small.count), 0, 0, 0])
        #expect(frame[11] & 0x0f == 8)  // deflate, in a zlib header
        #expect(frame[12] & 0x20 == 0)  // no dictionary
        let withDictionary = try Frame.encode(small, usesDictionary: true)
        #expect(withDictionary[12] & 0x20 != 0)
        #expect(withDictionary.count < frame.count)
    }

    @Test func aMessageThatDoesNotCompressGoesAsItIs() throws {
        var generator = SplitMix64(seed: 1)
        let noise = (0..<40).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        let frame = try Frame.encode(noise, usesDictionary: true)
        #expect(frame.count == 11 + noise.count)
        #expect(try Frame.decode(frame) == (noise, false))
        // Only who asks tells what it has, so that it is answered with it.
        let request = try Frame.encode(noise, usesDictionary: true, namesDictionary: true)
        #expect(request.count == 15 + noise.count)
        #expect(try Frame.decode(request) == (noise, true))
        for bit in 0..<request.count * 8 {
            var flipped = request
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(error(flipped) != nil, "bit \(bit)")
        }
    }

    /// Borders are advice: whatever they say, the message is the same.
    @Test func columnsInBlocksOfTheirOwnInflateToTheSame() throws {
        forEachSeed(40) { generator in
            var random = RandomMessages(generator: generator)
            var groups: [ChangeGroup] = []
            for number in 0..<400 {
                groups.append(
                    ChangeGroup(
                        record: random.record(), createdKind: 1,
                        firstCounter: UInt64(1 + 3 * number),
                        changes: [
                            Change(field: 1, value: Array("小区里缺路灯\(number % 7)".utf8)),
                            Change(field: 5, value: Array("\(generator.next() >> 20)".utf8)),
                            Change(field: 7, value: [4]),
                        ],
                        base: .origin, written: random.clocks()))
            }
            let message = BatchCoding.encode(groups)
            let plain = try Frame.encode(message, usesDictionary: true)
            let bordered = try Frame.encode(message, usesDictionary: true, borders: .batch)
            try check(try Frame.decode(bordered).message == message)
            try check(bordered.count < plain.count, "\(bordered.count) and \(plain.count)")
            // Another shape than the message's is no trouble either.
            let odd = try Frame.encode(message, usesDictionary: true, borders: .answer)
            try check(try Frame.decode(odd).message == message)
        }
    }

    @Test func anEmptyMessageHasAFrame() throws {
        #expect(try Frame.decode(Frame.encode([], usesDictionary: false)).message == [])
        #expect(try Frame.decode(Frame.encode([], usesDictionary: true)).message == [])
    }

    @Test func everyCutIsNoticed() throws {
        for usesDictionary in [false, true] {
            let frame = try Frame.encode(small, usesDictionary: usesDictionary)
            for count in 0..<frame.count {
                let expected: FrameError = count <= 11 ? .notAFrame : .damaged
                #expect(error(Array(frame.prefix(count))) == expected, "\(count) bytes")
            }
        }
    }

    @Test func everyCutWithARightChecksumIsNoticedToo() throws {
        for usesDictionary in [false, true] {
            let frame = try Frame.encode(small, usesDictionary: usesDictionary)
            for count in 12..<frame.count {
                #expect(error(sealed(Array(frame.prefix(count)))) == .damaged, "\(count) bytes")
            }
        }
    }

    @Test func everyFlippedBitIsNoticed() throws {
        for usesDictionary in [false, true] {
            let frame = try Frame.encode(small, usesDictionary: usesDictionary)
            for bit in 0..<frame.count * 8 {
                var flipped = frame
                flipped[bit / 8] ^= 1 << UInt8(bit % 8)
                let expected: FrameError =
                    switch bit / 8 {
                    case 0, 1: .notAFrame
                    case 2: .versionNotSpoken(flipped[2])
                    default: .damaged
                    }
                #expect(error(flipped) == expected, "bit \(bit)")
            }
        }
    }

    /// Someone who can compute a checksum gets past it, and then zlib's own must hold.
    @Test func everyFlippedBitWithARightChecksumIsNoticedToo() throws {
        let frame = try Frame.encode(small, usesDictionary: true)
        for bit in 7 * 8..<frame.count * 8 {
            var flipped = frame
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            // Two header bits of zlib say how hard it tried, and one stream more for nothing.
            guard let decoded = try? Frame.decode(sealed(flipped)) else { continue }
            #expect(decoded.message == small, "bit \(bit)")
        }
    }

    @Test func aLyingLengthIsNoticed() throws {
        let frame = try Frame.encode(small, usesDictionary: false)
        let length = UInt32(small.count)
        for lie in [0, 1, length - 1, length + 1, UInt32(Limits.inflatedBytesMax)] {
            #expect(error(withLength(lie, frame)) == .damaged, "\(lie)")
        }
        for lie in [UInt32(Limits.inflatedBytesMax) + 1, 1 << 24 - 1, .max] {
            #expect(error(withLength(lie, frame)) == .tooLarge, "\(lie)")
        }
    }

    @Test func aBombStopsAtItsLength() throws {
        let zeros = [UInt8](repeating: 0, count: Limits.inflatedBytesMax)
        let frame = try Frame.encode(zeros, usesDictionary: false)
        #expect(frame.count < 10_000)
        #expect(try Frame.decode(frame).message.count == Limits.inflatedBytesMax)
        #expect(error(withLength(100, frame)) == .damaged)
    }

    @Test func theLimitsHoldOnBothSides() {
        #expect(throws: FrameError.tooLarge) {
            try Frame.encode(
                [UInt8](repeating: 0, count: Limits.inflatedBytesMax + 1), usesDictionary: false)
        }
        var generator = SplitMix64(seed: 1)
        let noise = (0..<Limits.frameBytesMax).map { _ in
            UInt8(truncatingIfNeeded: generator.next())
        }
        #expect(throws: FrameError.tooLarge) { try Frame.encode(noise, usesDictionary: false) }
        let oversized = [0x57, 0x59, 1] + noise
        #expect(error(oversized) == .tooLarge)
    }

    @Test func trailingBytesAreNoticed() throws {
        let frame = try Frame.encode(small, usesDictionary: true)
        #expect(error(frame + [0]) == .damaged)
        #expect(error(sealed(frame + [0])) == .damaged)
        #expect(error(sealed(frame + frame)) == .damaged)
    }

    @Test(arguments: [0, 2, 255] as [UInt8])
    func anotherVersionIsNamed(_ version: UInt8) throws {
        var frame = try Frame.encode(small, usesDictionary: false)
        frame[2] = version
        // Before the checksum: another version may place it elsewhere.
        #expect(error(frame) == .versionNotSpoken(version))
    }

    @Test func randomBytesAreNoFrame() {
        forEachSeed(10_000) { generator in
            var bytes = generator.bytes(countMax: 60)
            try check(error(bytes) != nil, "\(bytes)")
            bytes = sealed([0x57, 0x59, 1, 0, 0, 0, 0, 40, 0, 0, 0, 0x78, 0x9c] + bytes)
            _ = error(bytes)
        }
    }

    @Test func theDictionaryIsTheKeptFile() throws {
        #expect(try CompressionDictionary.bytes == Repository.bytes("protocol/dictionary.txt"))
    }

    @Test func errorsShowNothingOfTheMessage() {
        let errors: [FrameError] = [
            .notAFrame, .versionNotSpoken(9), .damaged, .tooLarge, .unknownDictionary,
            .malformed("a group without a record"),
        ]
        #expect(Set(errors.map(\.description)).count == errors.count)
    }
}
