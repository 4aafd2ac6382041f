import HummingbirdCore
import Logging

/// Lets in as many connections as may be open at once, and tells the operator when others wait.
struct ConnectionCap: AvailableConnectionsDelegate {
    private let connectionsMax: Int
    private let logger: Logger
    private var connections = 0
    /// Not said again before half of them are gone, or each that comes and goes would say it.
    private var hasSaidSo = false

    init(_ connectionsMax: Int, logger: Logger) {
        self.connectionsMax = connectionsMax
        self.logger = logger
    }

    mutating func connectionOpened() {
        connections += 1
        guard connections >= connectionsMax, !hasSaidSo else { return }
        hasSaidSo = true
        logger.warning(
            "as many connections are open as may be; others wait",
            metadata: ["connections": "\(connections)"])
    }

    mutating func connectionClosed() {
        connections -= 1
        if connections <= connectionsMax / 2 { hasSaidSo = false }
    }

    func isAcceptingNewConnections() -> Bool { connections < connectionsMax }
}
