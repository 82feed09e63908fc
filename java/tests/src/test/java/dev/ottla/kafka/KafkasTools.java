package dev.ottla.kafka;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import java.util.Map;

/**
 * Runs one of Kafka's own tools as Kafka's authors compiled it, but for the clients that it constructs: they are ours.
 * What is changed is the names in its class files, nothing else.
 */
public final class KafkasTools extends ClassLoader {
    private static final Map<String, String> OURS = Map.of(
            "org/apache/kafka/clients/producer/KafkaProducer", "dev/ottla/kafka/OttlaKafkaProducer",
            "org/apache/kafka/clients/consumer/KafkaConsumer", "dev/ottla/kafka/OttlaKafkaConsumer");
    /** The tags of a class file's constants, of JVMS 4.4. */
    private static final int UTF8 = 1;
    private static final int LONG = 5;
    private static final int DOUBLE = 6;
    private static final int METHOD_HANDLE = 15;

    private final String tool;
    private int renamed;

    private KafkasTools(String tool) {
        super(KafkasTools.class.getClassLoader());
        this.tool = tool;
    }

    /**
     * Runs {@code main} of a tool.
     *
     * @param args the name of the tool's class, then what it is to be told
     */
    public static void main(String[] args) throws Exception {
        KafkasTools loader = new KafkasTools("org.apache.kafka.tools." + args[0]);
        Class<?> tool = loader.loadClass(loader.tool);
        if (loader.renamed == 0) {
            throw new IllegalStateException("`" + loader.tool + "` constructs no client");
        }
        tool.getMethod("main", String[].class).invoke(null, (Object) Arrays.copyOfRange(args, 1, args.length));
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        if (!name.equals(tool) && !name.startsWith(tool + "$")) {
            return super.loadClass(name, resolve);
        }
        synchronized (getClassLoadingLock(name)) {
            Class<?> loaded = findLoadedClass(name);
            return loaded != null ? loaded : defined(name);
        }
    }

    private Class<?> defined(String name) throws ClassNotFoundException {
        try (InputStream compiled = getResourceAsStream(name.replace('.', '/') + ".class")) {
            if (compiled == null) {
                throw new ClassNotFoundException(name);
            }
            byte[] bytes = withOurs(new DataInputStream(compiled));
            return defineClass(name, bytes, 0, bytes.length);
        } catch (IOException e) {
            throw new ClassNotFoundException(name, e);
        }
    }

    private byte[] withOurs(DataInputStream in) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeLong(in.readLong());
        int constants = in.readUnsignedShort();
        out.writeShort(constants);
        for (int i = 1; i < constants; i++) {
            int tag = in.readUnsignedByte();
            out.writeByte(tag);
            switch (tag) {
                case UTF8 -> out.writeUTF(ours(in.readUTF()));
                case LONG, DOUBLE -> {
                    out.writeLong(in.readLong());
                    i++; // They count twice.
                }
                // Of a class, a string, a method's type, a module or a package: one index.
                case 7, 8, 16, 19, 20 -> out.writeShort(in.readShort());
                case METHOD_HANDLE -> out.write(in.readNBytes(3));
                // All others: four bytes.
                default -> out.writeInt(in.readInt());
            }
        }
        in.transferTo(out);
        return bytes.toByteArray();
    }

    private String ours(String constant) {
        String ours = constant;
        for (var name : OURS.entrySet()) {
            ours = ours.replace(name.getKey(), name.getValue());
        }
        renamed += ours.equals(constant) ? 0 : 1;
        return ours;
    }
}
