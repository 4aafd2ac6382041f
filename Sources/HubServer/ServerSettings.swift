/// What the operator may set once instead of with each command: flags go before the environment,
/// the environment before a file.
package struct ServerSettings: Hashable, Sendable {
    package var ledger: String?
    package var listen: String?
    package var certificate: String?
    package var key: String?

    private typealias Path = WritableKeyPath<ServerSettings, String?>

    private static var names: [(file: String, environment: String, path: Path)] {
        [
            ("ledger", "WAYSTATION_LEDGER", \.ledger),
            ("listen", "WAYSTATION_LISTEN", \.listen),
            ("tls-certificate", "WAYSTATION_TLS_CERTIFICATE", \.certificate),
            ("tls-key", "WAYSTATION_TLS_KEY", \.key),
        ]
    }

    package static let fileVariable = "WAYSTATION_CONFIG"

    package init(
        ledger: String? = nil, listen: String? = nil, certificate: String? = nil,
        key: String? = nil
    ) {
        self.ledger = ledger
        self.listen = listen
        self.certificate = certificate
        self.key = key
    }

    /// Reads the environment; a variable that is set but empty counts as not set.
    package init(environment: [String: String]) {
        for name in Self.names {
            if let value = environment[name.environment], !value.isEmpty {
                self[keyPath: name.path] = value
            }
        }
    }

    /// Reads a file: one `key = value` a line; empty lines and those that start with `#` are
    /// passed over.
    ///
    /// - Throws: ``SettingsError`` with the line's number, from 1.
    package init(file text: String) throws(SettingsError) {
        var lineNumber = 0
        for line in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
            lineNumber += 1
            let content = Self.trimmed(line)
            if content.isEmpty || content.hasPrefix("#") { continue }
            guard let equals = content.firstIndex(of: "=") else {
                throw .notAssignment(line: lineNumber)
            }
            let key = Self.trimmed(content[..<equals])
            let value = Self.trimmed(content[content.index(after: equals)...])
            guard let name = Self.names.first(where: { $0.file == key }) else {
                throw .unknownKey(line: lineNumber, String(key))
            }
            guard !value.isEmpty else { throw .noValue(line: lineNumber, name.file) }
            guard self[keyPath: name.path] == nil else {
                throw .repeated(line: lineNumber, name.file)
            }
            self[keyPath: name.path] = String(value)
        }
    }

    /// These settings, and for what they lack those of `other`.
    package func or(_ other: ServerSettings) -> ServerSettings {
        var result = self
        for name in Self.names where result[keyPath: name.path] == nil {
            result[keyPath: name.path] = other[keyPath: name.path]
        }
        return result
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop(while: \.isWhitespace)
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return text
    }
}

/// What is wrong with a settings file; names the line, from 1.
package enum SettingsError: Error, Hashable, CustomStringConvertible {
    case notAssignment(line: Int)
    case unknownKey(line: Int, String)
    case noValue(line: Int, String)
    case repeated(line: Int, String)

    package var description: String {
        switch self {
        case .notAssignment(let line): "line \(line) is not of the form key = value"
        case .unknownKey(let line, let key): "line \(line): there is no setting \"\(key)\""
        case .noValue(let line, let key): "line \(line): \(key) has no value"
        case .repeated(let line, let key): "line \(line): \(key) is set twice"
        }
    }

    package var hint: String { "the settings are ledger, listen, tls-certificate and tls-key" }
}
