import HubLedger
import Synchronization

/// What the server counts from its start, and the text that Prometheus reads.
///
/// - SeeAlso: Prometheus, "Exposition formats", text format 0.0.4.
final class HubMetrics: Sendable {
    static let mediaType = "text/plain; version=0.0.4; charset=utf-8"

    private struct Counts {
        /// Requests by status; a client cannot make up statuses, so this stays small.
        var requests: [Int: Int] = [:]
        var bytesReceived = 0
        var bytesSent = 0
        var commits = 0
        var batches = 0
        var applied = 0
        var superseded = 0
        var rejected = 0
    }

    private let counts = Mutex(Counts())

    func count(status: Int, bytesReceived: Int, bytesSent: Int) {
        counts.withLock {
            $0.requests[status, default: 0] += 1
            $0.bytesReceived += bytesReceived
            $0.bytesSent += bytesSent
        }
    }

    func count(drained bytes: Int) { counts.withLock { $0.bytesReceived += bytes } }

    func count(commit figures: SyncFigures) {
        counts.withLock {
            // Others store nothing.
            if figures.batches > 0 { $0.commits += 1 }
            $0.batches += figures.batches
            $0.applied += figures.changesApplied
            $0.superseded += figures.changesSuperseded
            $0.rejected += figures.changesRejected
        }
    }

    func text(ledger: LedgerFigures) -> String {
        let counts = counts.withLock { $0 }
        var text = PrometheusText()
        text.add(
            "waystation_requests_total", .counter, "HTTP requests by status.",
            counts.requests.sorted { $0.key < $1.key }.map { ("status", "\($0.key)", $0.value) })
        text.add(
            "waystation_received_bytes_total", .counter, "Bytes of request bodies.",
            counts.bytesReceived)
        text.add(
            "waystation_sent_bytes_total", .counter, "Bytes of answer bodies.", counts.bytesSent)
        text.add(
            "waystation_sync_commits_total", .counter,
            "Commits that stored batches; batches that come together share one.", counts.commits)
        text.add(
            "waystation_batches_total", .counter, "Batches that devices sent.",
            counts.batches)
        text.add(
            "waystation_changes_total", .counter, "Changes by outcome.",
            [
                ("outcome", "applied", counts.applied),
                ("outcome", "superseded", counts.superseded),
                ("outcome", "rejected", counts.rejected),
            ])
        text.add(
            "waystation_devices", .gauge, "Devices that are not revoked, by age of last sync.",
            ledger.devicesByAge.map { ("last_sync", $0.label, $0.count) })
        text.add(
            "waystation_ledger_bytes", .gauge, "Size of the ledger and its log.",
            Int(ledger.bytes))
        text.add(
            "waystation_ledger_sequence", .gauge, "The newest sequence.", Int(clamping: ledger.head)
        )
        text.add("waystation_needs", .gauge, "Needs in the ledger.", ledger.needs)
        text.add(
            "waystation_open_conflicts", .gauge, "Records with a field whose live versions differ.",
            ledger.openConflicts)
        text.add(
            "waystation_refused_groups", .gauge, "Groups of changes that were refused.",
            ledger.refusedGroups)
        return text.lines
    }
}

private struct PrometheusText {
    enum Kind: String {
        case counter, gauge
    }

    private(set) var lines = ""

    mutating func add(_ name: String, _ kind: Kind, _ help: String, _ value: Int) {
        head(name, kind, help)
        lines += "\(name) \(value)\n"
    }

    /// - Parameter series: The label's name and value, then the figure; label values are ours and
    ///   hold nothing that needs escaping.
    mutating func add(
        _ name: String, _ kind: Kind, _ help: String, _ series: [(String, String, Int)]
    ) {
        head(name, kind, help)
        for (label, value, figure) in series {
            lines += "\(name){\(label)=\"\(value)\"} \(figure)\n"
        }
    }

    private mutating func head(_ name: String, _ kind: Kind, _ help: String) {
        lines += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }
}
