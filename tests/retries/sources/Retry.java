// Java's HttpClient with its defaults: one GET of the URL, and what became of it.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

class Retry {
    public static void main(String[] arguments) throws Exception {
        try {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
            System.out.println(HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).statusCode());
        } catch (java.io.IOException error) {
            System.out.println(error);
        }
    }
}
