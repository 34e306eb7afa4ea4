import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.file.Files;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.util.descriptor.web.FilterDef;
import org.apache.tomcat.util.descriptor.web.FilterMap;

public class Main {
    public static void main(String[] arguments) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("adieu").toString());
        tomcat.setPort(Integer.parseInt(arguments[0]));
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        Context context = tomcat.addContext("", null);
        FilterDef definition = new FilterDef();
        definition.setFilterName("adieu");
        definition.setFilter(new AdieuFilter(arguments[1]));
        context.addFilterDef(definition);
        FilterMap map = new FilterMap();
        map.setFilterName("adieu");
        map.addURLPattern("/*");
        context.addFilterMap(map);
        Tomcat.addServlet(context, "greet", new HttpServlet() {
            @Override
            protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
                response.setCharacterEncoding("UTF-8");
                response.getWriter().print(request.getUserPrincipal().getName());
            }
        }).addMapping("/");
        tomcat.start();
        tomcat.getServer().await();
    }
}
