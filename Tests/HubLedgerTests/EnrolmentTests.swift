import Glibc
import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

@Suite("Invites and devices")
struct EnrolmentTests {
    let hub: TestHub

    init() throws {
        hub = try TestHub()
    }

    private func invite(
        _ name: String = "王桂英", territory: String = "v1", role: Role = .worker
    ) throws -> String {
        try hub.ledger.invite(
            role: role, territory: territory, team: nil, name: name, lifetimeSeconds: 3_600)
    }

    private func enroll(
        _ code: String, _ replica: ReplicaID = .none
    ) throws -> EnrollAnswer {
        try hub.ledger.enroll(EnrollRequest(code: code, replica: replica))
    }

    private func expectFailure(
        sourceLocation: SourceLocation = #_sourceLocation, _ call: () throws -> Void,
        is isExpected: (LedgerError) -> Bool
    ) throws {
        let error = try #require(
            throws: LedgerError.self, sourceLocation: sourceLocation, performing: call)
        #expect(isExpected(error), "\(error)", sourceLocation: sourceLocation)
        #expect(!error.hint.isEmpty, sourceLocation: sourceLocation)
    }

    @Test("a code can be read aloud and typed")
    func codeForm() throws {
        let code = try invite()
        #expect(code.wholeMatch(of: /[A-Z2-7]{4}(-[A-Z2-7]{4}){3}/) != nil)
        let other = try invite()
        #expect(code != other)
        // Typed in lower case it is the same.
        _ = try enroll(code.lowercased())
    }

    @Test("with a server key the code carries its hash to pin")
    func pinnedCode() throws {
        let key = (0..<32).map { UInt8($0) }
        try hub.ledger.setServerKey(key)
        let code = try invite()
        let pin = try #require(code.split(separator: "-").last)
        #expect(pin.count == 53)
        #expect(pin == "P" + Secrets.base32Text(key))
        try hub.ledger.setServerKey(nil)
        #expect(try invite().count == 19)
    }

    @Test("a code works once")
    func usedOnce() throws {
        let code = try invite()
        _ = try enroll(code)
        try expectFailure {
            _ = try enroll(code)
        } is: {
            if case .codeUsed = $0 { true } else { false }
        }
        #expect(try hub.ledger.devices().count == 1)
    }

    @Test("a code expires")
    func expired() throws {
        let code = try invite()
        hub.time.now += 3_600_000
        try expectFailure {
            _ = try enroll(code)
        } is: {
            if case .codeExpired = $0 { true } else { false }
        }
        #expect(try hub.ledger.devices().isEmpty)
    }

    @Test("an unknown code enrols nobody")
    func unknown() throws {
        try expectFailure {
            _ = try enroll("AAAA-BBBB-CCCC-DDDD")
        } is: {
            if case .codeUnknown = $0 { true } else { false }
        }
    }

    @Test("an invite needs what its role needs, and a name, and a lifetime")
    func wrongInvites() throws {
        let wrong: [() throws -> String] = [
            { try invite("") }, { try invite(territory: "nowhere") },
            { try invite(String(repeating: "王", count: 100)) },
            { [hub] in
                try hub.ledger.invite(
                    role: .team, territory: nil, team: "Z", name: "队员", lifetimeSeconds: 60)
            },
            { [hub] in
                try hub.ledger.invite(
                    role: .team, territory: "v1", team: "A", name: "队员", lifetimeSeconds: 60)
            },
            { [hub] in
                try hub.ledger.invite(
                    role: .office, territory: nil, team: "A", name: "所", lifetimeSeconds: 60)
            },
            { [hub] in
                try hub.ledger.invite(
                    role: .worker, territory: "v1", team: nil, name: "王", lifetimeSeconds: 0)
            },
        ]
        for call in wrong {
            try expectFailure {
                _ = try call()
            } is: {
                if case .invalid = $0 { true } else { false }
            }
        }
    }

    @Test("the token names the device, and is not stored")
    func token() throws {
        let answer = try enroll(invite())
        let device = try #require(try hub.ledger.device(withToken: answer.token))
        #expect(device.name == "王桂英")
        #expect(device.id == answer.assignment.device)
        #expect(try hub.ledger.device(withToken: answer.token + "x") == nil)
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        let stored = try bytes(of: "copy")
        #expect(!stored.contains(answer.token))
    }

    private func bytes(of name: String) throws -> String {
        String(decoding: try readFile(hub.scratch.path(name)), as: Unicode.ASCII.self)
    }

    @Test("enrolling again, the same person goes on as the same device with a new token")
    func samePerson() throws {
        let worker = try hub.worker("v1", name: "王桂英")
        try worker.sync()
        worker.addNeed()
        try worker.sync()
        let answer = try enroll(invite(), worker.replica)
        #expect(answer.assignment.device == worker.id)
        #expect(answer.forkCounter == nil)
        #expect(try hub.ledger.device(withToken: worker.token) == nil)
        #expect(try hub.ledger.device(withToken: answer.token)?.id == worker.id)
        worker.addNeed()
        try worker.sync()
        #expect(worker.refusals.isEmpty)
    }

    @Test("a revoked device that enrols again with a new code is let in again")
    func revokedThenInvited() throws {
        let worker = try hub.worker("v1", name: "王桂英")
        try worker.sync()
        worker.addNeed()
        try worker.sync()
        try hub.ledger.revoke(device: worker.id)
        #expect(try hub.ledger.device(withToken: worker.token)?.isRevoked == true)
        #expect(throws: LedgerError.self) { try worker.sync() }
        _ = try enroll(invite(), worker.replica)
        try worker.sync()
    }

    @Test(
        "another person, or the same in another place, becomes a new device and forks",
        arguments: [("张三", "v1"), ("王桂英", "v2")])
    func otherPerson(name: String, territory: String) throws {
        let worker = try hub.worker("v1", name: "王桂英")
        try worker.sync()
        worker.addNeed()
        try worker.sync()
        let answer = try enroll(invite(name, territory: territory), worker.replica)
        #expect(answer.assignment.device != worker.id)
        #expect(answer.forkCounter == 3)
        #expect(try hub.ledger.device(withToken: worker.token)?.isRevoked == false)
    }

    @Test("the scope told at enrolment is remembered, so that a later one is compared with it")
    func enrolmentScope() throws {
        let worker = try hub.worker("v1")
        let scope = try hub.scope(of: hub.device(worker.id))
        let told = try hub.storage.snapshot {
            try hub.storage.scope(device: worker.id, id: scope.id)
        }
        #expect(told == scope)
    }

    @Test("revoking somebody who is not there says so")
    func revokeNobody() throws {
        try expectFailure {
            try hub.ledger.revoke(device: 99)
        } is: {
            if case .notFound = $0 { true } else { false }
        }
    }

    @Test("base 32 is that of RFC 4648 without padding")
    func base32() {
        let vectors = [
            "f": "MY", "fo": "MZXQ", "foo": "MZXW6", "foob": "MZXW6YQ", "fooba": "MZXW6YTB",
            "foobar": "MZXW6YTBOI",
        ]
        for (text, encoded) in vectors {
            #expect(Secrets.base32Text(Array(text.utf8)) == encoded)
        }
    }

    @Test("SHA-256 is that of FIPS 180-4")
    func sha256OfABC() {
        let hex = sha256(Array("abc".utf8)).map {
            String($0 >> 4, radix: 16) + String($0 & 15, radix: 16)
        }
        #expect(
            hex.joined() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    /// Found as a server that died at its end, "unaligned fastbin chunk": the ledger's thread
    /// ended while libcrypto freed what it kept for each thread.
    @Test("libcrypto frees nothing when the process exits, so no thread frees it again")
    func libcryptoOutlivesTheProcess() async {
        await #expect(processExitsWith: .success) {
            // Registered before libcrypto is prepared, so called after what it would register.
            atexit { _ = sha256([]) }
            _ = sha256([])
            exit(0)
        }
    }
}
