import CZlib
import Glibc
import SyncCore

// A frame, as it stands in the body of a request or an answer:
//
//     offset  size  content
//          0     2  magic 0x57 0x59 ("WY")
//          2     1  version, 1
//          3     4  CRC-32 of everything from offset 7, little-endian
//          7     3  length of the message once inflated, little-endian
//         10     1  0; 1: not compressed; 3: the same, and the sender has the dictionary named
//         11     …  0: the message, in zlib format (RFC 1950), window 8 to 32 KiB
//                   1: the message; 3: Adler-32 of the sender's dictionary (4, big-endian), the
//                   message
//
// The zlib header names the preset dictionary, if any, by its Adler-32 (FDICT, DICTID). The CRC is
// of what travelled, so a damaged frame is refused before anything is inflated; the length bounds
// inflating, and zlib's own trailer checks the message.

/// The envelope of every message: checked, compressed, bounded.
///
/// - SeeAlso: `protocol/SPEC.md` §5.
package enum Frame {
    package static let version: UInt8 = 1
    package static let mediaType = "application/vnd.waystation.v1"

    static let headerBytes = 11
    private static let plainForm: UInt32 = 1
    private static let plainFormNamingDictionary: UInt32 = 3

    /// A device sends little, often over a link that is paid by the byte, and has the time: the
    /// highest level saves it a third of a per cent. The hub's pages cost four times as much at it.
    private static let requestLevel: Int32 = 9
    private static let answerLevel: Int32 = 6

    /// zlib's header, the dictionary's name and the checksum are 10 bytes, and what stands in so
    /// small a message are mostly numbers.
    private static let compressedBytesMin = 40

    /// Columns of a smaller message are not worth blocks of their own.
    private static let smallMessageBytes = 4_096

    /// zlib looks no farther back than its window's size without these.
    private static let windowBytesUnused = 262
    private static let smallWindowBits: Int32 = 13

    /// Begins a stream whose window holds dictionary and message, with room for as many symbols as
    /// bytes. Most messages are small, and zlib at its greatest takes and clears 300 KB for each.
    private static func start(
        _ stream: inout z_stream, for bytes: Int, usesDictionary: Bool, level: Int32
    ) {
        let (windowBits, memoryLevel): (Int32, Int32) =
            switch bytes + windowBytesUnused {
            case ...(1 << smallWindowBits): (smallWindowBits, 7)
            case ...(1 << 14): (14, 8)
            default: (15, 9)
            }
        precondition(
            waystation_deflate_init(&stream, level, windowBits, memoryLevel) == Z_OK,
            "zlib does not start")
        guard usesDictionary else { return }
        let status = CompressionDictionary.bytes.withUnsafeBufferPointer {
            deflateSetDictionary(&stream, $0.baseAddress, UInt32($0.count))
        }
        precondition(status == Z_OK, "zlib takes a dictionary before the first byte")
    }

    /// A small stream that has read the dictionary, to be copied: reading takes longer than most
    /// messages do. Nothing changes it, so any thread may.
    private nonisolated(unsafe) static let smallStream: UnsafeMutablePointer<z_stream> = {
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        stream.initialize(to: z_stream())
        start(&stream.pointee, for: 0, usesDictionary: true, level: answerLevel)
        return stream
    }()

    /// Wraps a message.
    ///
    /// - Parameters:
    ///   - message: At most ``Limits/inflatedBytesMax``.
    ///   - usesDictionary: Whether the far side is known, or hoped, to have the dictionary.
    ///   - namesDictionary: Of a request: the far side should learn that we have it, also from a
    ///     message that is too small to be compressed, and use it in the answer.
    ///   - borders: What the message is.
    /// - Throws: ``FrameError/tooLarge`` when message or frame exceed their bounds.
    package static func encode(
        _ message: [UInt8], usesDictionary: Bool, namesDictionary: Bool = false,
        borders: ColumnBorders = .none
    ) throws(FrameError) -> [UInt8] {
        guard message.count <= Limits.inflatedBytesMax else { throw .tooLarge }
        let name = usesDictionary && namesDictionary ? dictionaryName : []
        var form = name.isEmpty ? plainForm : plainFormNamingDictionary
        var body = name + message
        // Of a few random numbers compression makes more.
        if message.isEmpty || message.count >= compressedBytesMin {
            let compressed = deflated(
                message, usesDictionary: usesDictionary, borders,
                level: namesDictionary ? requestLevel : answerLevel)
            if message.isEmpty || compressed.count < body.count {
                form = 0
                body = compressed
            }
        }
        var frame: [UInt8] = [0x57, 0x59, version, 0, 0, 0, 0]
        frame.reserveCapacity(headerBytes + body.count)
        append(UInt32(message.count) | form << 24, to: &frame)
        frame.append(contentsOf: body)
        guard frame.count <= Limits.frameBytesMax else { throw .tooLarge }
        let checksum = crc(of: frame, from: 7)
        for index in 0..<4 {
            frame[3 + index] = UInt8(truncatingIfNeeded: checksum >> UInt32(8 * index))
        }
        return frame
    }

    /// Unwraps a frame of any origin, hostile ones too.
    ///
    /// - Parameter messageBytesMax: What the message may have inflated; more is ``FrameError/tooLarge``
    ///   before anything is.
    /// - Returns: The message, and whether its sender has the dictionary.
    package static func decode(
        _ frame: [UInt8], messageBytesMax: Int = Limits.inflatedBytesMax
    ) throws(FrameError) -> (message: [UInt8], usedDictionary: Bool) {
        guard frame.count <= Limits.frameBytesMax else { throw .tooLarge }
        guard frame.count > headerBytes, frame[0] == 0x57, frame[1] == 0x59 else {
            throw .notAFrame
        }
        guard frame[2] == version else { throw .versionNotSpoken(frame[2]) }
        guard number(in: frame, at: 3) == crc(of: frame, from: 7) else { throw .damaged }
        let form = number(in: frame, at: 7) >> 24
        let length = Int(number(in: frame, at: 7) & 0xFF_FFFF)
        guard length <= messageBytesMax else { throw .tooLarge }
        switch form {
        case 0: return try inflated(frame, length: length)
        case plainForm:
            guard frame.count == headerBytes + length else { throw .damaged }
            return (Array(frame[headerBytes...]), false)
        case plainFormNamingDictionary:
            let start = headerBytes + dictionaryName.count
            guard frame.count == start + length else { throw .damaged }
            // Another one is no error: nothing here needs it.
            return (
                Array(frame[start...]), frame[headerBytes..<start].elementsEqual(dictionaryName)
            )
        default: throw .damaged
        }
    }

    /// As zlib writes it.
    private static let dictionaryName: [UInt8] = {
        let sum = CompressionDictionary.bytes.withUnsafeBufferPointer {
            UInt32(adler32(1, $0.baseAddress, UInt32($0.count)))
        }
        return (0..<4).map { UInt8(truncatingIfNeeded: sum >> (24 - 8 * UInt32($0))) }
    }()

    private static func deflated(
        _ message: [UInt8], usesDictionary: Bool, _ borders: ColumnBorders, level: Int32
    ) -> [UInt8] {
        var stream = z_stream()
        let bytes = (usesDictionary ? CompressionDictionary.bytes.count : 0) + message.count
        // Only running out of memory or a mismatched zlib can fail here.
        if usesDictionary, bytes + windowBytesUnused <= 1 << smallWindowBits {
            let status = deflateCopy(&stream, smallStream)
            precondition(status == Z_OK, "zlib copies a stream")
            if level != answerLevel {
                let status = deflateParams(&stream, level, Z_DEFAULT_STRATEGY)
                precondition(status == Z_OK, "nothing was compressed that would have to end")
            }
        } else {
            start(&stream, for: bytes, usesDictionary: usesDictionary, level: level)
        }
        defer { deflateEnd(&stream) }
        let offsets = message.count <= smallMessageBytes ? [] : borders.offsets(in: message)
        // The bound knows nothing of blocks that end early: each may cost a header and a byte's
        // rest, and is stored as it is when that is smaller.
        let bound = Int(deflateBound(&stream, UInt(message.count))) + 16 * offsets.count
        var input = message
        let inputCount = input.count
        return [UInt8](unsafeUninitializedCapacity: bound) { output, count in
            input.withUnsafeMutableBufferPointer { source in
                stream.next_in = source.baseAddress
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(bound)
                var done = 0
                for offset in offsets {
                    deflateColumn(
                        &stream, UnsafeBufferPointer(rebasing: source[done..<offset]), level)
                    done = offset
                }
                stream.avail_in = UInt32(inputCount - done)
                let status = deflate(&stream, Z_FINISH)
                precondition(status == Z_STREAM_END, "deflateBound bounds the output")
                count = Int(stream.total_out)
            }
        }
    }

    /// Compresses one column into a block of its own.
    ///
    /// In a column of digits a match of three bytes costs more than the three digits, and zlib
    /// takes it all the same; where counting bytes promises less, it is done again without matches.
    private static func deflateColumn(
        _ stream: inout z_stream, _ column: UnsafeBufferPointer<UInt8>, _ level: Int32
    ) {
        func run() -> Int {
            let before = stream.total_out
            stream.avail_in = UInt32(column.count)
            let status = deflate(&stream, Z_BLOCK)
            precondition(status == Z_OK && stream.avail_in == 0, "there is room")
            return Int(stream.total_out - before)
        }
        guard let bytesWithoutMatches = bytesWithoutMatches(column) else {
            _ = run()
            return
        }
        var start = z_stream()
        precondition(deflateCopy(&start, &stream) == Z_OK, "zlib copies a stream")
        defer { deflateEnd(&start) }
        guard run() > bytesWithoutMatches else { return }
        deflateEnd(&stream)
        precondition(deflateCopy(&stream, &start) == Z_OK, "zlib copies a stream")
        var status = deflateParams(&stream, level, Z_HUFFMAN_ONLY)
        _ = run()
        status = min(status, deflateParams(&stream, level, Z_DEFAULT_STRATEGY))
        precondition(status == Z_OK, "there is room")
    }

    /// What a Huffman code makes of the bytes, by their entropy, with its table.
    ///
    /// - Returns: `nil` when matches are sure to be worth it: in words, which are of many letters,
    ///   and where there is but one byte, again and again. A stream need not be copied then, which
    ///   costs as much as compressing some thousands of bytes.
    private static func bytesWithoutMatches(_ column: UnsafeBufferPointer<UInt8>) -> Int? {
        var counts = [Int](repeating: 0, count: 256)
        for byte in column { counts[Int(byte)] += 1 }
        counts.removeAll { $0 == 0 }
        guard (2...kindsOfByteMax).contains(counts.count) else { return nil }
        let bits = counts.reduce(0.0) { sum, count in
            sum + Double(count) * log2(Double(column.count) / Double(count))
        }
        // No code is shorter than a bit.
        return max(Int(bits), column.count) / 8 + 32 + counts.count / 2
    }

    private static let kindsOfByteMax = 32

    private static func inflated(
        _ frame: [UInt8], length: Int
    ) throws(FrameError) -> (message: [UInt8], usedDictionary: Bool) {
        var stream = z_stream()
        precondition(waystation_inflate_init(&stream) == Z_OK, "zlib does not start")
        defer { inflateEnd(&stream) }
        var input = frame
        var usedDictionary = false
        var failure: FrameError?
        let message = [UInt8](unsafeUninitializedCapacity: length + 1) { output, count in
            input.withUnsafeMutableBufferPointer { source in
                stream.next_in = source.baseAddress! + headerBytes
                stream.avail_in = UInt32(source.count - headerBytes)
                stream.next_out = output.baseAddress
                // One byte more than promised shows a message that is longer than it says.
                stream.avail_out = UInt32(length + 1)
                var status = inflate(&stream, Z_FINISH)
                if status == Z_NEED_DICT {
                    usedDictionary = true
                    let dictionary = CompressionDictionary.bytes
                    let accepted = dictionary.withUnsafeBufferPointer {
                        inflateSetDictionary(&stream, $0.baseAddress, UInt32($0.count))
                    }
                    guard accepted == Z_OK else {
                        failure = .unknownDictionary
                        return
                    }
                    status = inflate(&stream, Z_FINISH)
                }
                guard status == Z_STREAM_END, stream.avail_in == 0, stream.total_out == length
                else {
                    failure = .damaged
                    return
                }
                count = length
            }
        }
        if let failure { throw failure }
        return (message, usedDictionary)
    }

    private static func crc(of frame: [UInt8], from start: Int) -> UInt32 {
        frame.withUnsafeBufferPointer {
            UInt32(crc32(0, $0.baseAddress! + start, UInt32($0.count - start)))
        }
    }

    private static func append(_ number: UInt32, to bytes: inout [UInt8]) {
        for shift in stride(from: UInt32(0), to: 32, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> shift))
        }
    }

    private static func number(in bytes: [UInt8], at offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) }
    }
}

/// Why a frame cannot be taken.
package enum FrameError: Error, Hashable, CustomStringConvertible {
    case notAFrame
    case versionNotSpoken(UInt8)
    case damaged
    case tooLarge
    case unknownDictionary
    /// The frame is whole but the message in it breaks its format.
    case malformed(String)

    package var description: String {
        switch self {
        case .notAFrame: "this is not a Waystation frame"
        case .versionNotSpoken(let version): "frame version \(version) is not spoken here"
        case .damaged: "the frame is damaged"
        case .tooLarge: "the frame is larger than the protocol allows"
        case .unknownDictionary: "the frame's compression dictionary is not known here"
        case .malformed(let what): "the message is malformed: \(what)"
        }
    }
}
