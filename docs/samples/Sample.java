// msgcenter from Java 17 or newer, without libraries: send one, send a batch, receive callbacks.
//
//   export MSGCENTER_URL=http://127.0.0.1:8080 MSGCENTER_KEY=mck_...
//   java Sample.java send 13800138000 '您的业务已受理'
//   java Sample.java batch '生日快乐' 13800138000 13800138001
//   MSGCENTER_SECRET=whsec_... java Sample.java receive 9000
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Sample {
    static final HttpClient HTTP = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(5)).build();

    public static void main(String[] words) throws Exception {
        switch (words.length > 0 ? words[0] : "") {
            case "send" -> System.out.println(post("/v1/messages", message(words[1], "transactional", words[2])));
            case "batch" -> System.out.println(post("/v1/messages:batch", Arrays.stream(words).skip(2)
                    .map(to -> message(to, "care", words[1]))
                    .collect(Collectors.joining(",", "{\"messages\":[", "]}"))));
            case "receive" -> receive(Integer.parseInt(words[1]));
            default -> {
                System.err.println("usage: java Sample.java send TO TEXT | batch TEXT TO... | receive PORT");
                System.exit(2);
            }
        }
    }

    static String message(String to, String category, String text) {
        return "{\"to\":" + quote(to) + ",\"category\":" + quote(category)
                + ",\"content\":{\"type\":\"text\",\"text\":" + quote(text) + "}}";
    }

    static String quote(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < ' ') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }

    static String post(String path, String body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("MSGCENTER_URL") + path))
                .timeout(Duration.ofSeconds(30))
                .header("Authorization", "Bearer " + System.getenv("MSGCENTER_KEY"))
                .header("Content-Type", "application/json")
                // the same in every try: one message, however often it is sent
                .header("Idempotency-Key", UUID.randomUUID().toString())
                .POST(HttpRequest.BodyPublishers.ofString(body)).build();
        for (int attempt = 0; ; attempt++) {
            HttpResponse<String> answer;
            try {
                answer = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
            } catch (IOException gone) {
                if (attempt >= 5) throw gone;
                Thread.sleep(200L << attempt);
                continue;
            }
            if (answer.statusCode() < 300) return answer.body();
            boolean again = answer.statusCode() == 429 || answer.statusCode() == 503
                    || answer.body().contains("\"idempotency_busy\"");
            if (!again || attempt >= 5) throw new IOException("HTTP " + answer.statusCode() + ": " + answer.body());
            long seconds = answer.headers().firstValue("Retry-After").map(Long::parseLong).orElse(0L);
            Thread.sleep(Math.max(seconds * 1000, 200L << attempt));
        }
    }

    /** Standard Webhooks: HMAC-SHA256 over id.timestamp.body, at most 300 s old. */
    static boolean signed(String id, String at, String given, byte[] body) throws GeneralSecurityException {
        if (id == null || at == null || given == null || !at.matches("\\d{1,11}")) return false;
        if (Math.abs(System.currentTimeMillis() / 1000 - Long.parseLong(at)) > 300) return false;
        byte[] key = Base64.getDecoder().decode(System.getenv("MSGCENTER_SECRET").substring("whsec_".length()));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update((id + "." + at + ".").getBytes(StandardCharsets.UTF_8));
        byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes();
        return Arrays.stream(given.split(" ")).anyMatch(one -> MessageDigest.isEqual(one.getBytes(), expected));
    }

    static void receive(int port) throws IOException {
        // id -> when it may be forgotten; share it (Redis: SET NX EX 600) between processes
        Map<String, Long> seen = new ConcurrentHashMap<>();
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 50);
        server.createContext("/", exchange -> answer(exchange, judge(exchange, seen)));
        server.start();
        System.out.println("listening on " + server.getAddress().getPort());
    }

    static int judge(HttpExchange exchange, Map<String, Long> seen) throws IOException {
        byte[] body = exchange.getRequestBody().readNBytes((1 << 20) + 1);
        if (body.length > 1 << 20) return 413;
        var headers = exchange.getRequestHeaders();
        String id = headers.getFirst("webhook-id");
        try {
            if (!signed(id, headers.getFirst("webhook-timestamp"), headers.getFirst("webhook-signature"), body))
                return 401;
        } catch (GeneralSecurityException broken) {
            throw new IOException(broken);
        }
        long now = System.currentTimeMillis();
        seen.values().removeIf(until -> until < now);
        if (seen.putIfAbsent(id, now + 600_000) != null) return 200;
        System.out.println(id + " " + new String(body, StandardCharsets.UTF_8));
        return 204;
    }

    static void answer(HttpExchange exchange, int status) throws IOException {
        exchange.sendResponseHeaders(status, -1);
        exchange.close();
    }
}
