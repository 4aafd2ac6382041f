/// One short story, played with the production code of both sides: a bug that another project had,
/// as it would happen here.
///
/// Everything is fixed: the same story goes the same way each time. `tools/simulate --scenario
/// NAME` plays one by itself, and `tools/mutants` plays it with the bug put into our code.
///
/// - SeeAlso: the table of stories in `protocol/SIMULATION.md`.
package struct Scenario: Sendable, CustomStringConvertible {
    package let name: String
    /// Whose bug it was: project and issue.
    package let bug: String
    private let story: @Sendable (Stage) throws -> Void

    init(_ name: String, bug: String, _ story: @escaping @Sendable (Stage) throws -> Void) {
        self.name = name
        self.bug = bug
        self.story = story
    }

    package var description: String { name }

    /// - Throws: ``ScenarioFailure`` or ``Violation`` when the bug is here, too; what the
    ///   production code throws when it should not.
    package func play() throws { try Stage.play(story) }

    /// In the order of the table.
    package static let all =
        mergeStories + feedStories + outboxStories + crashStories + restoreStories
}

/// What a story expected and did not find.
package struct ScenarioFailure: Error, CustomStringConvertible, Sendable {
    package var description: String
}

/// Ends the story unless a condition holds.
///
/// - Parameter what: What does not hold then, as a sentence.
func expect(_ condition: Bool, _ what: @autoclosure () -> String) throws {
    guard !condition else { return }
    throw ScenarioFailure(description: what())
}
