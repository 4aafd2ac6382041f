import Testing

@testable import TerminalUI

@Suite struct StyledTextTests {
    private let coloured = Palette(isColoured: true)

    @Test func styleBecomesAnEscapeSequence() {
        let text: StyledText = "id \("7", .green)"
        #expect(text.rendered(with: coloured) == "id \u{1B}[32m7\u{1B}[0m")
    }

    @Test func stylesCombine() {
        let text = StyledText("x", [.bold, .red])
        #expect(text.rendered(with: coloured) == "\u{1B}[1;31mx\u{1B}[0m")
    }

    @Test(
        arguments: [
            (Style.bold, "1"), (.dim, "2"), (.red, "31"), (.green, "32"), (.yellow, "33"),
            (.cyan, "36"),
        ])
    func styleHasItsRendition(style: Style, number: String) {
        #expect(StyledText("x", style).rendered(with: coloured) == "\u{1B}[\(number)mx\u{1B}[0m")
    }

    @Test func plainTextHasNoEscapeSequence() {
        #expect(StyledText("x").rendered(with: coloured) == "x")
    }

    @Test func colourlessPaletteWritesNoEscapeSequence() {
        let text: StyledText = "id \("7", [.green, .bold])"
        #expect(text.rendered(with: Palette(isColoured: false)) == "id 7")
    }

    @Test func interpolatedTextCannotDriveTheTerminal() {
        let resident = "\u{1B}]0;owned\u{07}"
        let text: StyledText = "need: \(resident, .cyan)"
        #expect(text.plain == "need: \u{FFFD}]0;owned\u{FFFD}")
    }

    @Test func interpolatedTextCannotStartALine() {
        let resident = "lamp\nerror: all lost"
        let text: StyledText = "first\n\(resident)"
        #expect(text.plain == "first\nlamp error: all lost")
    }

    @Test func phraseKeepsItsLines() {
        let text: StyledText = "\(Phrase("a\nb", "甲\n乙"), .chinese)"
        #expect(text.plain == "甲\n乙")
    }

    @Test func terminalIsColoured() {
        #expect(Palette(isTerminal: true, environment: ["TERM": "xterm"]).isColoured)
    }

    @Test func emptyNoColorIsAsIfUnset() {
        #expect(Palette(isTerminal: true, environment: ["NO_COLOR": ""]).isColoured)
    }

    @Test(arguments: [["NO_COLOR": "1"], ["TERM": "dumb"]])
    func environmentRefusesColour(environment: [String: String]) {
        #expect(!Palette(isTerminal: true, environment: environment).isColoured)
    }

    @Test func pipeIsNotColoured() {
        #expect(!Palette(isTerminal: false, environment: ["TERM": "xterm"]).isColoured)
    }
}
