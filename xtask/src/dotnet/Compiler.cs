// C#'s compiler by its public interface, for machines whose own is older: each argument is a file with the arguments of one compilation.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Text;

static class Compiler
{
    static int Main(string[] files)
    {
        // One after the other, as the later ones refer to what the earlier ones make; in one process, which is slow to begin.
        return files.All(Compile) ? 0 : 1;
    }

    static bool Compile(string file)
    {
        var directory = Directory.GetCurrentDirectory();
        var command = CSharpCommandLineParser.Default.Parse(File.ReadAllLines(file), directory, sdkDirectory: null);
        if (!IsFine(command.Errors))
        {
            return false;
        }
        var references = command.MetadataReferences.Select(
            r => (MetadataReference)MetadataReference.CreateFromFile(Path.GetFullPath(r.Reference, directory), r.Properties));
        var trees = command.SourceFiles.Select(source =>
        {
            using var stream = File.OpenRead(source.Path);
            return CSharpSyntaxTree.ParseText(SourceText.From(stream, canBeEmbedded: true), command.ParseOptions, source.Path);
        });
        var options = command.CompilationOptions
            .WithXmlReferenceResolver(new XmlFileResolver(directory))
            .WithAssemblyIdentityComparer(DesktopAssemblyIdentityComparer.Default);
        var name = command.CompilationName ?? Path.GetFileNameWithoutExtension(command.OutputFileName);
        var compilation = CSharpCompilation.Create(name, trees.ToList(), references.ToList(), options);

        Directory.CreateDirectory(command.OutputDirectory);
        using var assembly = new MemoryStream();
        using var documents = command.DocumentationPath == null ? null : new MemoryStream();
        var emitted = compilation.Emit(assembly, xmlDocumentationStream: documents, options: command.EmitOptions);
        if (!IsFine(emitted.Diagnostics) || !emitted.Success)
        {
            return false;
        }
        File.WriteAllBytes(Path.Combine(command.OutputDirectory, command.OutputFileName), assembly.ToArray());
        if (documents != null)
        {
            File.WriteAllBytes(command.DocumentationPath, documents.ToArray());
        }
        return true;
    }

    static bool IsFine(IEnumerable<Diagnostic> diagnostics)
    {
        var isFine = true;
        foreach (var diagnostic in diagnostics.Where(d => !d.IsSuppressed && d.Severity >= DiagnosticSeverity.Warning))
        {
            isFine &= diagnostic.Severity != DiagnosticSeverity.Error;
            Console.WriteLine(diagnostic);
        }
        return isFine;
    }
}
