// swift-tools-version: 6.2
import PackageDescription

// One list for every target: Swift 6 mode comes with the tools version.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

// Versions are exact because Package.resolved is not committed.
let dependencies: [Package.Dependency] = [
    // The protobuf runtime of the wire format: every language has one, so strangers can join.
    .package(url: "https://github.com/apple/swift-protobuf.git", exact: "1.39.0", traits: []),
    // Flags, help and usage errors of the two programs.
    .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2"),
    // The hub's HTTP server; `traits: []` leaves out configuration files and full Foundation.
    .package(
        url: "https://github.com/hummingbird-project/hummingbird.git", exact: "2.28.1", traits: []),
    // TLS for the hub, and the public key of its certificate, which invite codes carry.
    .package(url: "https://github.com/apple/swift-nio-ssl.git", exact: "2.37.6"),
    // Byte buffers, event loops and header fields beneath Hummingbird; named because we touch them
    // directly.
    .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
    .package(url: "https://github.com/apple/swift-http-types.git", exact: "1.8.0"),
    // One log line format and one clean shutdown for the hub.
    .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", exact: "2.13.0"),
]

let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let arguments = Target.Dependency.product(
    name: "ArgumentParser", package: "swift-argument-parser")

/// HTTP as the hub serves it, also for the bare server that its requests are compared with.
let httpServer: [Target.Dependency] = [
    .product(name: "HummingbirdCore", package: "hummingbird"),
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "HTTPTypes", package: "swift-http-types"),
    .product(name: "Logging", package: "swift-log"),
    .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
    .product(name: "UnixSignals", package: "swift-service-lifecycle"),
]

/// A target of the house, under `Sources/NAME`.
func target(
    _ name: String, _ dependencies: [Target.Dependency] = [], _ own: [SwiftSetting] = []
) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Sources/\(name)",
        swiftSettings: settings + own)
}

/// The tests of one target, under `Tests/NAMETests`.
func tests(
    of name: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = []
) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.byName(name: name)] + dependencies,
        path: "Tests/\(name)Tests", exclude: exclude, swiftSettings: settings)
}

/// A C library of the system, under `Sources/CLibraries/NAME`: a header of inline typed wrappers.
func system(_ name: String, package: String) -> Target {
    .systemLibrary(
        name: name, path: "Sources/CLibraries/\(name)", providers: [.apt([package])])
}

/// Of a release build of the client, whose commands end in milliseconds, much of them the dynamic
/// loader's, and of the server, where relocations and symbols were an eighth of its idle memory:
/// relative relocations packed (understood by glibc 2.36 and later), no symbol exported, and SQLite,
/// zlib and the C++ runtime inside (a release is built anew for a mend in one of them). Gold, the
/// usual linker, can do none of it; lld comes with Swift.
let quickStart: [LinkerSetting] = [
    .unsafeFlags(
        [
            "-use-ld=lld", "-Xlinker", "-z", "-Xlinker", "pack-relative-relocs",
            "-Xlinker", "--no-export-dynamic",
            "-L", Context.packageDirectory + "/Sources/CLibraries/Static",
        ], .when(platforms: [.linux], configuration: .release))
]

let package = Package(
    name: "waystation",
    products: [
        .executable(name: "waystation", targets: ["waystation"]),
        .executable(name: "waystation-server", targets: ["waystation-server"]),
    ],
    dependencies: dependencies,
    targets: [
        // C libraries: the journal and the ledger, the device's HTTP, the frame, SHA-256.
        system("CSQLite", package: "libsqlite3-dev"),
        system("CCurl", package: "libcurl4-openssl-dev"),
        system("CZlib", package: "zlib1g-dev"),
        // libcrypto is on every machine that has libcurl4-openssl-dev; only its SHA-256 is used.
        system("CCrypto", package: "libcurl4-openssl-dev"),
        // How much memory the server keeps for each thread.
        system("CMalloc", package: "libc6-dev"),

        // Row 0
        target("SyncCore"),
        // Row 1
        target("NeedModel", ["SyncCore"]),
        // Row 2
        // Each access to a field of a generated message is checked for one that overlaps it, also in
        // a release build, where that was a third of reading and writing a small message. The
        // tests' builds check.
        target(
            "WireFormat", ["SyncCore", "NeedModel", "CZlib", protobuf],
            [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]),
        target("SQLiteStore", ["CSQLite"]),
        target("TerminalUI", ["NeedModel", "SyncCore"]),
        // Row 3
        target("DeviceJournal", ["SyncCore", "NeedModel", "WireFormat", "SQLiteStore"]),
        target("HubLedger", ["SyncCore", "NeedModel", "WireFormat", "SQLiteStore", "CCrypto"]),
        // Row 4
        target(
            "DeviceSync", ["SyncCore", "NeedModel", "WireFormat", "DeviceJournal", "CCurl"]),
        target(
            "HubServer",
            [
                "SyncCore", "NeedModel", "WireFormat", "HubLedger",
                .product(name: "HummingbirdTLS", package: "hummingbird"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ] + httpServer),
        // Row 5
        // Row 5 too, for developers: the simulator and the disk that it breaks.
        target("SimulatedDisk", ["CSQLite"]),
        target(
            "Simulation",
            [
                "SyncCore", "NeedModel", "WireFormat", "SQLiteStore", "DeviceJournal", "HubLedger",
                "SimulatedDisk", "CZlib",
            ]),
        .executableTarget(
            name: "simulate", dependencies: ["Simulation", arguments],
            path: "Sources/simulate", swiftSettings: settings),
        .executableTarget(
            name: "waystation",
            dependencies: [
                "SyncCore", "NeedModel", "TerminalUI", "DeviceJournal", "DeviceSync", arguments,
            ],
            path: "Sources/waystation", swiftSettings: settings, linkerSettings: quickStart),
        .executableTarget(
            name: "waystation-server",
            dependencies: [
                "SyncCore", "NeedModel", "TerminalUI", "HubLedger", "HubServer", "CMalloc",
                arguments,
            ],
            path: "Sources/waystation-server", swiftSettings: settings,
            linkerSettings: quickStart),

        // Row 5 too, for developers: one measurement at a time, driven by tools/bench.
        .executableTarget(
            name: "bench",
            dependencies: [
                "SyncCore", "NeedModel", "WireFormat", "SQLiteStore", "TerminalUI",
                "DeviceJournal", "HubLedger", "DeviceSync", "CSQLite", arguments,
            ] + httpServer,
            path: "Sources/bench", swiftSettings: settings),

        tests(of: "SyncCore"),
        tests(of: "NeedModel", ["SyncCore"]),
        tests(of: "WireFormat", ["SyncCore", "NeedModel"]),
        tests(of: "SQLiteStore"),
        tests(of: "TerminalUI", ["NeedModel"]),
        tests(
            of: "DeviceJournal", ["SyncCore", "NeedModel", "WireFormat", "SQLiteStore"],
            exclude: ["Fixtures"]),
        tests(
            of: "HubLedger", ["SyncCore", "NeedModel", "WireFormat", "SQLiteStore"],
            exclude: ["Fixtures"]),
        tests(of: "DeviceSync", ["SyncCore", "NeedModel", "WireFormat", "DeviceJournal"]),
        tests(
            of: "HubServer",
            [
                "SyncCore", "NeedModel", "WireFormat", "HubLedger",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ]),
        tests(of: "SimulatedDisk", ["SQLiteStore"]),
        // The second process of the determinism test is the real program.
        tests(
            of: "Simulation",
            ["simulate", "SyncCore", "NeedModel", "DeviceJournal", "HubLedger", "SimulatedDisk"]),
        // The two real programs over loopback; also the check that rows import downwards only.
        .testTarget(
            name: "EndToEndTests", dependencies: ["waystation", "waystation-server", "bench"],
            path: "Tests/EndToEndTests", swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
