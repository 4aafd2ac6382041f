import Glibc
import TerminalUI

/// A text file that a person made: UTF-8, perhaps with a byte order mark.
enum InputFile {
    case settings, table

    private var bytesMax: Int {
        switch self {
        case .settings: 64 << 10
        case .table: 64 << 20
        }
    }

    /// Of a content that cannot stand.
    private var code: CommandFailure.Code {
        switch self {
        case .settings: .usage
        case .table: .data
        }
    }

    private var hintOnSize: String {
        switch self {
        case .settings: "is this the file of settings? a few lines are enough"
        case .table: "split the file"
        }
    }

    private var hintOnEncoding: String {
        switch self {
        case .settings: "save the file as UTF-8"
        case .table: "save the file as UTF-8 (in Excel: \"CSV UTF-8\")"
        }
    }

    /// - Throws: ``CommandFailure``: that the file cannot be read, is too large, or which of its
    ///   lines is not UTF-8.
    func text(at path: String) throws(CommandFailure) -> String {
        let bytes = try read(path)
        let content = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
        if let text = String(validating: content, as: UTF8.self) { return text }
        let lines = content.split(separator: 0x0A, omittingEmptySubsequences: false)
        let line = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
        throw CommandFailure(
            code, "\(path), line \(line + 1): this is not UTF-8", hint: hintOnEncoding)
    }

    private func read(_ path: String) throws(CommandFailure) -> [UInt8] {
        guard let file = fopen(path, "re") else { throw unreadable(path, errno) }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            bytes.append(contentsOf: buffer[..<count])
            guard bytes.count <= bytesMax else {
                throw CommandFailure(
                    code, "\(path) is larger than \(bytesMax) bytes", hint: hintOnSize)
            }
            if count < buffer.count { break }
        }
        guard ferror(file) == 0 else { throw unreadable(path, errno) }
        return bytes
    }

    private func unreadable(_ path: String, _ code: Int32) -> CommandFailure {
        CommandFailure(
            .failed, "\(path) cannot be read: \(String(cString: strerror(code)))",
            hint: "check the path, and that you may read the file")
    }
}
