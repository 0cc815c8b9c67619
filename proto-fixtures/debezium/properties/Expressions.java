import java.nio.file.*;
import java.util.*;
import java.util.regex.*;

/** Which names each expression matches as a whole, case ignored: java Expressions.java NAMES EXPRESSIONS. */
public class Expressions {
    public static void main(String[] files) throws Exception {
        List<String> names = Files.readAllLines(Path.of(files[0]));
        StringBuilder out = new StringBuilder();
        for (String line : Files.readAllLines(Path.of(files[1]))) {
            String expression = line.split("\t")[0];
            out.append(expression).append('\t');
            try {
                Pattern pattern = Pattern.compile(expression, Pattern.CASE_INSENSITIVE);
                StringJoiner matched = new StringJoiner(",");
                for (int at = 0; at < names.size(); at++)
                    if (pattern.matcher(names.get(at)).matches()) matched.add("" + at);
                out.append(matched);
            } catch (PatternSyntaxException error) {
                out.append("refused");
            }
            out.append('\n');
        }
        Files.writeString(Path.of(files[1]), out);
    }
}
