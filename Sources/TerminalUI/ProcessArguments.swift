/// Whether every argument of this process is UTF-8.
///
/// Swift repairs what is not before anybody sees it, so that a text from a terminal in another
/// encoding would be stored with replacement characters in it, and nobody told.
package func argumentsAreUTF8() -> Bool {
    (0..<Int(CommandLine.argc)).allSatisfy { index in
        guard let argument = CommandLine.unsafeArgv[index] else { return true }
        return String(validatingCString: argument) != nil
    }
}
