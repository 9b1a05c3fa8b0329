// A plain client in Java; protocol.md says what it reads and prints.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Collectors;

public class Client {
    final Map<String, Object> said = new LinkedHashMap<>();
    final long start = System.nanoTime();

    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null;) {
            Client client = new Client();
            client.visit(line.split(" "));
            System.out.println(client.said.entrySet().stream()
                .map(entry -> entry.getKey() + "=" + entry.getValue()).collect(Collectors.joining("\t")));
        }
    }

    void visit(String[] words) throws Exception {
        InetSocketAddress address = new InetSocketAddress(words[0], Integer.parseInt(words[1]));
        byte[] request = (words[2] + " " + words[3] + "\n").getBytes();
        int patience = 0;
        try (Socket socket = new Socket()) {
            for (int i = 4; i < words.length; i++) {
                String[] step = words[i].split(":");
                try {
                    switch (step[0]) {
                        case "patience" -> {
                            patience = Integer.parseInt(step[1]);
                            socket.setSoTimeout(patience);
                            continue;
                        }
                        case "connect" -> socket.connect(address, patience);
                        case "send" -> socket.getOutputStream().write(request);
                        case "shut" -> socket.shutdownOutput();
                        case "read" -> read(socket.getInputStream());
                        case "write" -> {
                            for (int n = 0; n < Integer.parseInt(step[1]); n++) {
                                said.put("written", n);
                                Thread.sleep(20);
                                socket.getOutputStream().write("more\n".getBytes());
                            }
                        }
                    }
                    said.put(step[0], step[0].equals("read") ? "EOF" : "ok");
                } catch (IOException error) {
                    said.put(step[0], error.toString());
                    break;
                }
            }
        }
        said.put("end_ms", elapsedMs());
    }

    void read(InputStream stream) throws IOException {
        byte[] data = new byte[65536];
        int received = 0;
        StringBuilder changed = new StringBuilder();
        try {
            for (int count; (count = stream.read(data)) >= 0;) {
                said.put("last_ms", elapsedMs());
                said.putIfAbsent("first_ms", said.get("last_ms"));
                for (int i = 0; i < count; i++, received++) {
                    if ((data[i] & 0xff) != received % 251 && changed.length() < 60) {
                        changed.append(changed.length() > 0 ? "," : "").append(received);
                    }
                }
            }
        } finally {
            said.put("bytes", received);
            said.put("changed", changed);
        }
    }

    long elapsedMs() {
        return (System.nanoTime() - start) / 1_000_000;
    }
}
