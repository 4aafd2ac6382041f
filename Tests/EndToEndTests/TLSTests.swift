import Foundation
import Testing

/// TLS with a certificate that no authority has signed.
@Suite(.lane) struct TLSTests {
    private func secure() async throws -> (World, Certificate) {
        let world = try await World(serving: false)
        let certificate = try await Certificate.selfSigned(in: world)
        try await world.serve(tls: certificate)
        return (world, certificate)
    }

    /// A code without the key behind it, as made before the server had one.
    private func bare(_ code: String) -> String {
        String(code.split(separator: "-").dropLast().joined(separator: "-"))
    }

    @Test func codeWithTheKeyNeedsNoAuthority() async throws {
        let (world, _) = try await secure()
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("门口积水")
        try await worker.sync()
        #expect(try await world.needs().count == 1)
    }

    @Test(arguments: ClockTests.wild)
    func codeWithTheKeyNeedsNoRightClock(clock: String) async throws {
        let (world, _) = try await secure()
        let worker = try await world.enrolled("worker", .worker, clock: clock)
        _ = try await worker.add("门口积水")
        try await worker.sync()
        #expect(try await world.needs().count == 1)
    }

    @Test func anotherKeyIsRefused() async throws {
        let (world, _) = try await secure()
        let code = try await world.invite(.worker, name: "worker")
        try await world.stop()
        try await world.restart(tls: .selfSigned(in: world, name: "other"))
        let outcome = try await world.device("worker").enroll(world.url, code, exits: 69)
        #expect(outcome.stderr.contains("another key"))
    }

    /// Also later: the key was pinned, and what is recorded stays safe.
    @Test func keyChangedBehindAnEnrolledDeviceIsRefused() async throws {
        let (world, _) = try await secure()
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("门口积水")
        try await world.stop()
        try await world.restart(tls: .selfSigned(in: world, name: "other"))
        let outcome = try await worker.sync(exits: 69)
        #expect(outcome.stderr.contains("another key") && outcome.stderr.contains("1 waiting"))
        #expect(try await worker.waiting() == 1)
    }

    @Test func mistypedKeyIsNoticedBeforeAnythingIsSent() async throws {
        let (world, _) = try await secure()
        let code = try await world.invite(.worker, name: "worker")
        let outcome = try await world.device("worker").enroll(
            world.url, code.dropLast() + "1", exits: 64)
        #expect(outcome.stderr.contains("mistyped"))
    }

    @Test func withoutKeyAndAuthorityNothingIsTrusted() async throws {
        let (world, _) = try await secure()
        let code = bare(try await world.invite(.worker, name: "worker"))
        let outcome = try await world.device("worker").enroll(world.url, code, exits: 69)
        #expect(outcome.stderr.contains("secure connection"))
    }

    @Test func authorityFileIsTrusted() async throws {
        let (world, certificate) = try await secure()
        let code = bare(try await world.invite(.worker, name: "worker"))
        let worker = world.device("worker")
        try await worker.run("enroll", world.url, code, "--ca", certificate.path)
        _ = try await worker.add("门口积水")
        try await worker.sync()
        #expect(try await world.needs().count == 1)
    }

    /// The journal is used from other folders too.
    @Test func authorityFileIsFoundFromAnotherFolder() async throws {
        let (world, certificate) = try await secure()
        let code = bare(try await world.invite(.worker, name: "worker"))
        let worker = world.device("worker")
        let command =
            "cd '\(world.folder)' && exec '\(Programs.client)' enroll "
            + "\(world.url) \(code) --ca \(URL(filePath: certificate.path).lastPathComponent)"
        try await world.start(
            ["sh", "-c", command], environment: ["WAYSTATION_HOME": worker.home]
        ).end().expect(0)
        try await worker.sync()
    }

    @Test func authorityThatIsMissingIsSaid() async throws {
        let (world, _) = try await secure()
        let code = try await world.invite(.worker, name: "worker")
        let outcome = try await world.device("worker").run(
            "enroll", world.url, bare(code), "--ca", world.folder + "/none.pem", exits: 69)
        #expect(outcome.stderr.contains("authority file"))
    }

    @Test func plainHTTPToATLSPortFails() async throws {
        let (world, _) = try await secure()
        let code = bare(try await world.invite(.worker, name: "worker"))
        let url = world.url.replacing("https://", with: "http://")
        try await world.device("worker").enroll(url, code, exits: 69)
    }

    @Test func certificateWithoutKeyIsWrongUsage() async throws {
        let world = try await World(serving: false)
        let certificate = try await Certificate.selfSigned(in: world)
        try await world.admin("serve", "--tls-certificate", certificate.path, exits: 64)
    }

    @Test func keyOfAnotherCertificateIsNoticedAtTheStart() async throws {
        let world = try await World(serving: false)
        let certificate = try await Certificate.selfSigned(in: world)
        let other = try await Certificate.selfSigned(in: world, name: "other")
        let outcome = try await world.admin(
            "serve", "--listen", "127.0.0.1:0", "--tls-certificate", certificate.path,
            "--tls-key", other.keyPath, exits: 1)
        #expect(outcome.stderr.contains("TLS"))
    }
}
