import Glibc
import TerminalUI

/// Reads a text file that a person made: UTF-8, perhaps with a byte order mark.
enum InputFile {
    static let settingsBytesMax = 64 << 10
    static let tableBytesMax = 64 << 20

    /// - Throws: ``CommandFailure``: that the file cannot be read, is too large, or which of its
    ///   lines is not UTF-8.
    static func text(at path: String, bytesMax: Int) throws(CommandFailure) -> String {
        let bytes = try read(path, bytesMax: bytesMax)
        let content = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
        if let text = String(validating: content, as: UTF8.self) { return text }
        let lines = content.split(separator: 0x0A, omittingEmptySubsequences: false)
        let line = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
        throw CommandFailure(
            .data, "\(path), line \(line + 1): this is not UTF-8",
            hint: "save the file as UTF-8 (in Excel: \"CSV UTF-8\")")
    }

    private static func read(_ path: String, bytesMax: Int) throws(CommandFailure) -> [UInt8] {
        guard let file = fopen(path, "re") else { throw unreadable(path, errno) }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            bytes.append(contentsOf: buffer[..<count])
            guard bytes.count <= bytesMax else {
                throw CommandFailure(
                    .data, "\(path) is larger than \(bytesMax) bytes", hint: "split the file")
            }
            if count < buffer.count { break }
        }
        guard ferror(file) == 0 else { throw unreadable(path, errno) }
        return bytes
    }

    private static func unreadable(_ path: String, _ code: Int32) -> CommandFailure {
        CommandFailure(.failed, "\(path) cannot be read: \(String(cString: strerror(code)))")
    }
}
