import CZlib
import SyncCore

// A frame, as it stands in the body of a request or an answer:
//
//     offset  size  content
//          0     2  magic 0x57 0x59 ("WY")
//          2     1  version, 1
//          3     4  CRC-32 of everything from offset 7, little-endian
//          7     4  length of the message once inflated, little-endian
//         11     …  the message, in zlib format (RFC 1950), level 6, window 32 KiB
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

    /// zlib's memory level 6 gathers 4,096 symbols into a block, so a message of at most as many
    /// bytes is one block, as at level 9.
    private static let smallMessageBytes = 4_096

    /// Wraps a message.
    ///
    /// - Parameters:
    ///   - message: At most ``Limits/inflatedBytesMax``.
    ///   - usesDictionary: Whether the far side is known, or hoped, to have the dictionary.
    /// - Throws: ``FrameError/tooLarge`` when message or frame exceed their bounds.
    package static func encode(
        _ message: [UInt8], usesDictionary: Bool
    ) throws(FrameError) -> [UInt8] {
        guard message.count <= Limits.inflatedBytesMax else { throw .tooLarge }
        let body = deflated(message, dictionary: usesDictionary ? CompressionDictionary.bytes : [])
        var frame: [UInt8] = [0x57, 0x59, version, 0, 0, 0, 0]
        frame.reserveCapacity(headerBytes + body.count)
        append(UInt32(message.count), to: &frame)
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
    /// - Returns: The message, and whether it was compressed with the dictionary.
    package static func decode(
        _ frame: [UInt8]
    ) throws(FrameError) -> (message: [UInt8], usedDictionary: Bool) {
        guard frame.count <= Limits.frameBytesMax else { throw .tooLarge }
        guard frame.count > headerBytes, frame[0] == 0x57, frame[1] == 0x59 else {
            throw .notAFrame
        }
        guard frame[2] == version else { throw .versionNotSpoken(frame[2]) }
        guard number(in: frame, at: 3) == crc(of: frame, from: 7) else { throw .damaged }
        let length = Int(number(in: frame, at: 7))
        guard length <= Limits.inflatedBytesMax else { throw .tooLarge }
        return try inflated(frame, length: length)
    }

    private static func deflated(_ message: [UInt8], dictionary: [UInt8]) -> [UInt8] {
        var stream = z_stream()
        // Only running out of memory or a mismatched zlib can fail here.
        // Most messages are small, and for them zlib would clear more memory than it reads.
        let memoryLevel: Int32 = message.count <= smallMessageBytes ? 6 : 9
        precondition(
            waystation_deflate_init(&stream, 6, memoryLevel) == Z_OK, "zlib does not start")
        defer { deflateEnd(&stream) }
        if !dictionary.isEmpty {
            let status = dictionary.withUnsafeBufferPointer {
                deflateSetDictionary(&stream, $0.baseAddress, UInt32($0.count))
            }
            precondition(status == Z_OK, "zlib takes a dictionary before the first byte")
        }
        let bound = Int(deflateBound(&stream, UInt(message.count)))
        var input = message
        let inputCount = input.count
        return [UInt8](unsafeUninitializedCapacity: bound) { output, count in
            input.withUnsafeMutableBufferPointer { source in
                stream.next_in = source.baseAddress
                stream.avail_in = UInt32(inputCount)
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(bound)
                let status = deflate(&stream, Z_FINISH)
                precondition(status == Z_STREAM_END, "deflateBound bounds the output")
                count = Int(stream.total_out)
            }
        }
    }

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
