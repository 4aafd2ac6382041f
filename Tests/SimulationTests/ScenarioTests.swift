import Testing

@testable import Simulation

/// Bugs that other projects had, played with our code; `tools/mutants` puts each of them into it.
struct ScenarioTests {
    @Test(arguments: Scenario.all)
    func holds(scenario: Scenario) throws { try scenario.play() }

    @Test func namesAreUnique() {
        #expect(Set(Scenario.all.map(\.name)).count == Scenario.all.count)
    }

    /// A story that cannot fail proves nothing.
    @Test func storyThatDoesNotHoldIsNoticed() {
        let story = Scenario("never", bug: "nobody's") { stage in
            let worker = try stage.worker("worker", in: "v1")
            _ = try worker.record("路灯不亮", in: "g1")
            try expect(try stage.storedNeedCount() == 1, "nothing came")
        }
        #expect(throws: ScenarioFailure.self) { try story.play() }
    }
}
