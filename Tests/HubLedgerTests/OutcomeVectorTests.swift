import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// `protocol/vectors/outcomes.json` against the real ledger: which groups are refused, with what
/// code, and which of two faults is told.
@Suite struct OutcomeVectorTests {
    private struct File: Decodable {
        let territory: [[String]]
        let teams: [[String]]
        let categories: [String]
        let devices: [Enrolled]
        let steps: [Step]
    }

    private struct Enrolled: Decodable {
        let name: String
        let role: String
        let territory: String?
        let team: String?
        let replica: ReplicaText
    }

    private struct Step: Decodable {
        struct Change: Decodable {
            let field: UInt32
            let value: Hex?
        }

        let about: String
        let device: String
        let record: RecordText?
        let creates: UInt32?
        let changes: [Change]?
        let code: UInt32?
        let field: UInt32?
        let superseded: [UInt32]?
    }

    @Test func outcomes() throws {
        let file = try Vectors.load("outcomes", as: File.self)
        // The hub of these tests has just the reference data that the vectors name.
        let territory = TestHub.territory.split(separator: "\n").dropFirst().map {
            $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        }
        #expect(file.territory == territory.map { [$0[0], $0[2], $0[3]] })
        let hub = try TestHub()
        func stored(_ kind: Kind, _ fields: UInt32...) throws -> [[String]] {
            try hub.records().filter { $0.kind == kind.rawValue }.map { record in
                fields.map { String(decoding: record.state.value(of: $0) ?? [], as: UTF8.self) }
            }
        }
        let (code, territoryOfTeam) = (TeamField.code.rawValue, TeamField.territory.rawValue)
        #expect(try stored(.team, code, territoryOfTeam) == file.teams)
        #expect(
            try stored(.category, CategoryField.code.rawValue).flatMap { $0 } == file.categories)

        var devices: [String: TestDevice] = [:]
        for enrolled in file.devices {
            let device = try hub.enroll(
                #require(Role(name: enrolled.role)), territory: enrolled.territory,
                team: enrolled.team, name: enrolled.name)
            device.replica = enrolled.replica.id
            try device.sync()
            devices[enrolled.name] = device
        }
        for step in file.steps {
            let device = try #require(devices[step.device])
            guard let changes = step.changes, let record = step.record else {
                try device.sync()
                continue
            }
            let group = device.write(
                record.id, creating: step.creates,
                changes.map { Change(field: $0.field, value: $0.value?.bytes) })
            let request = device.request()
            var answer = try hub.sync(device, request)
            let outcomes = try #require(answer.outcomes)
            #expect(outcomes.settledCounter == group.nextCounter, "\(step.about)")
            #expect(outcomes.refusals.map(\.code) == [step.code].compactMap { $0 }, "\(step.about)")
            #expect(
                outcomes.refusals.map(\.field) == [step.field].compactMap { $0 }, "\(step.about)")
            #expect(outcomes.superseded.flatMap(\.fields) == step.superseded ?? [], "\(step.about)")
            // Settled, and not pulled.
            (answer.page, answer.assignment) = (nil, nil)
            try device.absorb(answer, of: request)
        }
        #expect(try hub.ledger.check() == [])
        // None that a hub with a sound disk gives is missing.
        let told = Set(file.steps.compactMap(\.code))
        #expect(told == Set(RejectionCode.allCases.map(\.rawValue)).subtracting([12]))
    }
}
