import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Scanner;
import org.apache.cassandra.io.sstable.CQLSSTableWriter;

/**
 * Writes a superuser into the storage of a server that never ran: FirstRole FOLDER. The standard input has its name and the
 * bcrypt hash of its password, a line each.
 */
public class FirstRole {
    private static final String TABLE =
            "CREATE TABLE system_auth.roles (role text PRIMARY KEY, is_superuser boolean, can_login boolean, "
                    + "salted_hash text, member_of set<text>)";
    private static final String ROW =
            "INSERT INTO system_auth.roles (role, is_superuser, can_login, salted_hash) VALUES (?, true, true, ?)";

    public static void main(String[] arguments) throws Exception {
        Scanner input = new Scanner(System.in);
        String name = input.nextLine(), hash = input.nextLine();
        Files.createDirectories(Path.of(arguments[0]));
        try (CQLSSTableWriter writer =
                CQLSSTableWriter.builder().inDirectory(arguments[0]).forTable(TABLE).using(ROW).build()) {
            writer.addRow(name, hash);
        }
        // Cassandra's threads go on
        System.exit(0);
    }
}
