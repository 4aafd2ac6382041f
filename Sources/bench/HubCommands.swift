import ArgumentParser
import Glibc
import HubLedger
import SyncCore
import TerminalUI
import WireFormat

struct HubOptions: ParsableArguments {
    @OptionGroup var devices: DeviceOptions
    @Option(help: "http://127.0.0.1:PORT; without it the ledger is opened in this process.")
    var url: String?
    @Option(help: "The ledger to open, for merge with one client, edits and pairs.")
    var ledger: String?

    var workload: Workload { devices.workload.workload }

    /// - Returns: One link for each device that works: connections of their own, or one ledger.
    func links(_ count: Int) throws -> [Link] {
        if let url { return try (0..<count).map { _ in try Link(url: url) } }
        guard let ledger else { throw ValidationError("give --url or --ledger") }
        let opened = try Ledger(opening: ledger, clock: SeededLedger.wallMilliseconds)
        return (0..<count).map { _ in Link(opened) }
    }

    func link() throws -> Link { try links(1)[0] }

    /// Lets the first devices work at the same time, each on a thread and a link of its own, and
    /// keeps where they get to.
    ///
    /// - Parameter work: Passes the gate when it is ready to be measured.
    /// - Returns: When the gate opened, and what each made of it.
    func atOnce<Result: Sendable>(
        _ clients: Int, _ work: @escaping @Sendable (WireDevice, Link, Gate) throws -> Result
    ) throws -> (openedNanoseconds: Int64, results: [Result]) {
        let before = try devices.states()
        guard clients <= before.count else { throw BenchError("too few devices") }
        let (hub, workload) = (self, workload)
        if url == nil && clients > 1 { throw ValidationError("give --url for several clients") }
        let gate = Gate(clients)
        let done = try onThreads(clients) { client in
            let device = WireDevice(before[client], workload: workload)
            let result = try work(device, hub.link(), gate)
            return (device.state, result)
        }
        try devices.save(done.map(\.0) + before.dropFirst(clients))
        return (gate.openedNanoseconds, done.map(\.1))
    }
}

/// What a device does in one sync: for bytes, and for time as it waits.
struct PushCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "push", abstract: "One device syncs once, over a new connection.")

    @OptionGroup var hub: HubOptions
    @Option(help: "Which device.")
    var device = 0
    @Option(help: "New needs to send.")
    var creates = 0
    @Option(help: "Needs to edit, two fields each.")
    var edits = 0
    @Flag(help: "All edits at one moment instead of some minutes apart.")
    var atOnce = false
    @Flag(help: "Edits of all fields instead of urgencies and one field more.")
    var mixed = false

    func run() throws {
        var states = try hub.devices.states()
        let device = WireDevice(states[self.device], workload: hub.workload)
        guard edits <= device.state.needs else { throw BenchError("too few needs to edit") }
        let link = try hub.link()
        link.isMeasured = true
        let groups =
            device.create(creates) + device.edit(own: edits, atOnce: atOnce, mixed: mixed)
        try device.sync(groups, over: link)
        states[self.device] = device.state
        try hub.devices.save(states)
        report([
            ("waited_milliseconds", milliseconds(link.waitedNanoseconds)),
            ("round_trips", .integer(link.roundTrips)),
            ("bytes_up", .integer(link.bytesUp)), ("bytes_down", .integer(link.bytesDown)),
            ("frame_bytes_up", .integer(link.frameBytesUp)),
            ("frame_bytes_down", .integer(link.frameBytesDown)),
        ])
    }
}

/// New needs; each device has a grid of its own.
///
/// One client holds what it sent, as a device does, and pulls all of it back. Several share a
/// ledger whose sequence none of them can foretell, so each asks from where it last was, for
/// pages of the least size, in frames made before.
struct MergeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge", abstract: "Clients push new needs at full speed.")

    @OptionGroup var hub: HubOptions
    @Option var clients = 1
    @Option(help: "Devices that the one client is, a frame each in turn.")
    var writers = 1
    @Option(help: "Of each client.")
    var frames = 10
    @Option(help: "Needs of one frame.")
    var needs = 1_000

    func run() throws {
        let nanoseconds = clients == 1 ? try inTurn() : try atOnce()
        let total = clients * frames * needs
        report([
            ("needs", .integer(total)), ("milliseconds", milliseconds(nanoseconds)),
            ("needs_per_second", .double(Double(total) / (Double(nanoseconds) / 1e9))),
        ])
    }

    /// - Returns: The time waited: the client makes frames and reads answers between its requests,
    ///   and only while it waits is the hub at work.
    private func inTurn() throws -> Int64 {
        var states = try hub.devices.states()
        guard writers <= states.count else { throw BenchError("too few devices") }
        let devices = states.prefix(writers).map { WireDevice($0, workload: hub.workload) }
        let link = try hub.link()
        // Opens the connection and, if it is the first, the ledger's term.
        for device in devices { try device.send(device.create(1), over: link) }
        link.isMeasured = true
        let before = link.waitedNanoseconds
        for frame in 0..<frames {
            let device = devices[frame % writers]
            try device.send(device.create(needs), over: link)
        }
        states.replaceSubrange(..<writers, with: devices.map(\.state))
        try hub.devices.save(states)
        return link.waitedNanoseconds - before
    }

    /// - Returns: The time until the last of the clients has ended.
    private func atOnce() throws -> Int64 {
        let (frames, needs) = (frames, needs)
        let (opened, ended) = try hub.atOnce(clients) { device, link, gate in
            try device.send(device.create(1), over: link)
            let made = try (0..<frames).map { _ in
                let groups = device.create(needs)
                let request = device.request(groups, pageBytes: Limits.pageBytesMin)
                let frame = try Frame.encode(
                    request.encoded(), usesDictionary: true, namesDictionary: true,
                    borders: .request)
                return (groups, request, frame)
            }
            gate.pass()
            let answers = try made.map { try link.post($0.2, of: device.state) }
            let ended = monotonicNanoseconds()
            for ((groups, request, _), answer) in zip(made, answers) {
                try device.checkSettled(
                    SyncAnswer(decoding: Frame.decode(answer).message, for: request),
                    groups: groups)
            }
            try device.send([], over: link)
            return ended
        }
        return (ended.max() ?? opened) - opened
    }
}

struct EditsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "edits",
        abstract: "Device 0 pushes edits of its needs; 5 % of them concurrent with device 1's.")

    @OptionGroup var hub: HubOptions
    @Option var pushes = 10
    @Option(help: "Edits of one push, two fields each.")
    var edits = 600

    func run() throws {
        var states = try hub.devices.states()
        guard states.count > 1 else { throw BenchError("two devices are needed") }
        let device = WireDevice(states[0], workload: hub.workload)
        let partner = WireDevice(states[1], workload: hub.workload)
        let links = try hub.links(2)
        let (link, partnersLink) = (links[0], links[1])
        try device.send([], over: link)
        link.isMeasured = true
        var chance = Chance(hub.workload.seed, device.state.needs)
        var waited: Int64 = 0
        for push in 0..<pushes {
            var numbers: Set<UInt64> = []
            while numbers.count < min(edits, device.state.needs) {
                numbers.insert(UInt64(1 + chance.below(device.state.needs)))
            }
            let targets = numbers.sorted().map { device.state.record($0) }
            try partner.send([], over: partnersLink)
            let contested = targets.prefix(edits / 20).enumerated().map {
                partner.edit($0.element, $0.offset + push * edits)
            }
            try partner.send(contested, over: partnersLink)
            let groups = targets.enumerated().map {
                device.edit($0.element, $0.offset + push * edits + 1_000_000)
            }
            let before = link.waitedNanoseconds
            try device.send(groups, over: link)
            waited += link.waitedNanoseconds - before
        }
        states[0] = device.state
        states[1] = partner.state
        try hub.devices.save(states)
        report([
            ("edits", .integer(pushes * edits)), ("milliseconds", milliseconds(waited)),
            ("edits_per_second", .double(Double(pushes * edits) / (Double(waited) / 1e9))),
        ])
    }
}

struct SmallPushesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "small-pushes",
        abstract: "Many devices push ten edits of their own needs each, again and again.")

    @OptionGroup var hub: HubOptions
    @Option var clients = 16
    @Option var edits = 10
    @Option(help: "How long, in seconds.")
    var seconds = 5.0

    func run() throws {
        let (edits, seconds) = (edits, seconds)
        let (_, done) = try hub.atOnce(clients) { device, link, gate in
            if device.state.needs < edits {
                try device.send(device.create(edits - device.state.needs), over: link)
            }
            gate.pass()
            let end = gate.openedNanoseconds + Int64(seconds * 1e9)
            var latencies: [Int64] = []
            while monotonicNanoseconds() < end {
                let groups = (1...edits).map {
                    device.edit(device.state.record(UInt64($0)), latencies.count * edits + $0)
                }
                let before = link.waitedNanoseconds
                try device.send(groups, over: link)
                latencies.append(link.waitedNanoseconds - before)
            }
            return latencies
        }
        let latencies = done.flatMap { $0 }.sorted()
        report([
            ("pushes", .integer(latencies.count)),
            ("pushes_per_second", .double(Double(latencies.count) / seconds)),
            ("latency_p50_milliseconds", milliseconds(percentile(latencies, 0.5))),
            ("latency_p99_milliseconds", milliseconds(percentile(latencies, 0.99))),
        ])
    }
}

/// Ten changes from one device to another: device 0 pushes them, device 1 pulls them.
struct PairsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pairs", abstract: "10 changes pushed and pulled, again and again.")

    @OptionGroup var hub: HubOptions
    @Option var pairs = 100

    func run() throws {
        var states = try hub.devices.states()
        let links = try hub.links(2)
        let (link, partnersLink) = (links[0], links[1])
        let device = WireDevice(states[0], workload: hub.workload)
        let partner = WireDevice(states[1], workload: hub.workload)
        try device.send([], over: link)
        try partner.send([], over: partnersLink)
        (link.isMeasured, partnersLink.isMeasured) = (true, true)
        func waited() -> Int64 { link.waitedNanoseconds + partnersLink.waitedNanoseconds }
        var times: [Int64] = []
        for pair in 0..<pairs {
            let groups = (0..<5).map {
                let number = UInt64(1 + (pair * 5 + $0) % max(1, device.state.needs))
                return device.edit(device.state.record(number), pair * 5 + $0)
            }
            let before = waited()
            try device.send(groups, over: link)
            try partner.send([], over: partnersLink)
            times.append(waited() - before)
        }
        states[0] = device.state
        states[1] = partner.state
        try hub.devices.save(states)
        report([
            ("pairs", .integer(pairs)), ("median_milliseconds", milliseconds(median(times))),
        ])
    }
}

struct FrameCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "frame",
        abstract: "Writes the frame of an empty sync or of a push to a file, and prints the token.")

    @OptionGroup var options: DeviceOptions
    @Argument var file: String
    @Option var device = 0
    @Option(help: "Needs to edit, two fields each; nothing is sent, so the device is as before.")
    var edits = 0

    func run() throws {
        let state = try options.states()[self.device]
        let device = WireDevice(state, workload: options.workload.workload)
        let request = device.request(
            device.edit(own: edits), pageBytes: Limits.pageBytesStart)
        let frame = try Frame.encode(
            request.encoded(), usesDictionary: true, namesDictionary: true, borders: .request)
        try TextFile.write(frame, to: file)
        report([("token", .string(state.token)), ("bytes", .integer(frame.count))])
    }
}

/// A county's day: every device logs its needs and meets the hub once, over a connection of its
/// own, as many at a time as the threads.
struct CountyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "county", abstract: "Replays a county's days against one server.")

    @OptionGroup var hub: HubOptions
    @Option(help: "Needs of one device and day.")
    var needs = 10
    @Option var days = 1
    @Option var threads = 8

    func run() throws {
        let states = try hub.devices.states()
        let (hub, needs, days, threads) = (hub, needs, days, threads)
        let gate = Gate(threads)
        let done = try onThreads(threads) { thread in
            // Each thread plays every so-manieth device.
            let devices = stride(from: thread, to: states.count, by: threads).map {
                WireDevice(states[$0], workload: hub.workload)
            }
            // Enrolled before this day: the territory's names are there.
            for device in devices { try device.send([], over: hub.link()) }
            gate.pass()
            var latencies: [Int64] = []
            var bytesUp = 0
            var bytesDown = 0
            for _ in 0..<days {
                for device in devices {
                    let groups = device.create(needs)
                    let link = try hub.link()
                    try device.sync(groups, over: link)
                    latencies.append(link.waitedNanoseconds)
                    bytesUp += link.bytesUp
                    bytesDown += link.bytesDown
                }
            }
            return (
                devices.map(\.state), latencies, bytesUp, bytesDown, monotonicNanoseconds()
            )
        }
        try hub.devices.save(done.flatMap(\.0).sorted { $0.index < $1.index })
        let latencies = done.flatMap(\.1).sorted()
        let wall = (done.map(\.4).max() ?? 0) - gate.openedNanoseconds
        report([
            ("devices", .integer(states.count)), ("syncs", .integer(latencies.count)),
            ("needs", .integer(states.count * needs * days)),
            ("milliseconds", milliseconds(wall)),
            ("latency_p50_milliseconds", milliseconds(percentile(latencies, 0.5))),
            ("latency_p90_milliseconds", milliseconds(percentile(latencies, 0.9))),
            ("latency_p99_milliseconds", milliseconds(percentile(latencies, 0.99))),
            ("latency_p999_milliseconds", milliseconds(percentile(latencies, 0.999))),
            ("latency_max_milliseconds", milliseconds(latencies.last ?? 0)),
            ("bytes_up", .integer(done.reduce(0) { $0 + $1.2 })),
            ("bytes_down", .integer(done.reduce(0) { $0 + $1.3 })),
        ])
    }
}
